//! The languages that clients write in.

pub(crate) mod sql;
