//! Faults on purpose: named places that tests stop at, and planted bugs that tests must find.
//!
//! Both are features of the build and never in released images.

pub mod bug;
#[macro_use]
pub mod failpoint;
