//! [`MetasrvApi`](crate::metasrv::MetasrvApi) over gRPC.

mod client;
mod members;
mod server;

pub use client::MetasrvClient;
pub use members::{ConnectMetasrv, MetasrvMembers, Wait};
pub(super) use server::add_routes;
pub use server::serve_metasrv;
