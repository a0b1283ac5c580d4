#![doc = include_str!("../README.md")]

mod config;
mod heartbeat;
mod host;
mod query;
mod service;

pub use config::DatanodeConfig;
pub use service::{Datanode, DatanodeSetup, Storage, start};
