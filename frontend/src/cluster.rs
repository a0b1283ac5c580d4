//! The rest of the cluster as a frontend sees it: catalog, routes, nodes.

mod clients;
mod retry;
#[cfg(test)]
mod tests;
mod view;
mod watch;

pub(crate) use clients::Clients;
pub(crate) use retry::with_routes;
pub use varve_proto::datanode::Connect;
pub(crate) use view::{Database, Table, View};
pub(crate) use watch::Feed;
