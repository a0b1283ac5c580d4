//! [`DatanodeApi`](crate::datanode::DatanodeApi) over gRPC.

mod client;
mod server;
#[cfg(test)]
mod tests;

pub use client::DatanodeClient;
pub use server::serve_datanode;
pub(super) use server::{Slot, late_routes};
