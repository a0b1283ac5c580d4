//! HTTP: one listener, the shared parts of every HTTP protocol, and `/v1/sql`.
//!
//! Protocols bring their routes as a `Router`; this room knows none of them.

pub mod admin;
pub mod app;
pub mod body;
pub mod inflate;
pub mod listen;
pub mod params;
pub mod reply;
pub mod sql;
mod user;

pub use app::{App, HttpSetup};
