//! [`MetasrvApi`](crate::metasrv::MetasrvApi) over gRPC.

mod client;
mod members;
mod server;
#[cfg(test)]
mod tests;

pub use client::MetasrvClient;
pub use members::{ConnectMetasrv, MetasrvMembers, Wait};
pub(super) use server::add_routes;
pub use server::serve_metasrv;
