//! The series index: tag sets to dense ids, matchers to ids.

pub mod meta;
