//! [`DatanodeApi`](crate::datanode::DatanodeApi) over gRPC.

mod client;
mod server;
#[cfg(test)]
mod tests;

pub use client::DatanodeClient;
pub(super) use server::late_routes;
pub use server::serve_datanode;
