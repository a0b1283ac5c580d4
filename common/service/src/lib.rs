#![doc = include_str!("../README.md")]

pub mod clock;
pub mod config;
pub mod net;
pub mod shutdown;
pub mod task;
pub mod telemetry;
