//! [`MetasrvApi`](crate::metasrv::MetasrvApi) over gRPC.

mod client;
mod server;

pub use client::MetasrvClient;
pub(super) use server::add_routes;
pub use server::serve_metasrv;
