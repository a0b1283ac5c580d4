#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

pub mod clock;
pub mod config;
pub mod net;
pub mod shutdown;
pub mod task;
pub mod telemetry;
