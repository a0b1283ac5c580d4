//! Logs, spans and counters of a process.

pub mod cache;
pub mod logs;
pub mod metrics;
pub mod requests;
pub mod running;
pub mod stage;
