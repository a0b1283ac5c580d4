#![doc = include_str!("../README.md")]

mod catalog;
mod config;
mod heartbeat;
pub mod kv;
mod leader;
mod placement;
mod procedure;
mod reconcile;
mod registry;
mod relay;
mod route;
mod service;

pub use config::Config;
pub use service::{Member, MemberSetup, Metasrv};
