#![doc = include_str!("../README.md")]

mod catalog;
mod cluster;
mod config;
mod deadline;
#[cfg(test)]
mod fake;
mod gateway;
mod ingest;
mod language;
mod listen;
mod plan;
mod process;
mod statement;

pub use cluster::Connect;
pub use config::{ExchangeMode, FrontendConfig};
pub use gateway::{Frontend, FrontendSetup, start};
pub use listen::{Addresses, Host, listen};
