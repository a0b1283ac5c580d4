//! Flush: when (`schedule`) and how (`run`).

pub mod run;
pub mod schedule;
