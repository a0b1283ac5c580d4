//! The listening side of the wire: one gRPC server per process, with explicit limits.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use varve_model::{Error, Result};

use super::charge::{Accounts, ChargedRoutes};
use super::{datanode, metasrv, window};
use crate::datanode::DatanodeApi;
use crate::metasrv::MetasrvApi;

/// Roles that one listener serves. A datanode comes when the server runs already: it registers, over
/// that very listener when metasrv is in its process, before it can serve; and its session may end
/// and be followed by another.
#[derive(Clone, Debug)]
pub struct Services {
    accounts: Accounts,
    metasrv: Option<Arc<dyn MetasrvApi>>,
    datanode: datanode::Slot,
}

impl Services {
    /// Serves nothing yet; what will be asked is charged to these accounts.
    pub fn new(accounts: Accounts) -> Self {
        Self { accounts, metasrv: None, datanode: datanode::Slot::default() }
    }

    /// Serves a metasrv too.
    pub fn with_metasrv(mut self, api: Arc<dyn MetasrvApi>) -> Self {
        self.metasrv = Some(api);
        self
    }

    /// Serves this datanode from now on; without one, its calls are `Unavailable`.
    pub fn set_datanode(&self, api: Option<Arc<dyn DatanodeApi>>) {
        *self.datanode.write() = api;
    }

    /// Serves all of them until `stop`. Errors: `Internal`.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> Result<()> {
        let mut routes = datanode::late_routes(self.datanode);
        if let Some(api) = self.metasrv {
            routes = metasrv::add_routes(routes, api);
        }
        serve(ChargedRoutes::new(routes, self.accounts), listener, stop).await
    }
}

/// Bytes of one message, in both directions: a datanode's share of the largest request body with
/// room for the columnar form, and a catalog of 10,000 tables with 100 columns.
pub const MESSAGE_BYTES_MAX: usize = 256 << 20;
/// Bytes of requests in flight, per stream and per connection, before the caller waits. Requests are read as they
/// come, before anything else is waited for, so that none of them keeps the connection's window from the others.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// How often a silent connection is probed, and how long the answer may take.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(10);
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long calls in flight may take to end after the stop.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// Serves until `stop`, then waits shortly for calls in flight. Errors: `Internal`.
async fn serve(routes: ChargedRoutes, listener: TcpListener, stop: CancellationToken) -> Result<()> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let mut serving = std::pin::pin!(
        Server::builder()
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_concurrent_streams(window::STREAMS_MAX)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .serve_with_incoming_shutdown(routes, incoming, stop.clone().cancelled_owned())
    );
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = stop.cancelled() => match tokio::time::timeout(STOP_GRACE, serving).await {
            Ok(ended) => ended,
            // Streams that never end by themselves (watch, heartbeat) are cut off.
            Err(_) => Ok(()),
        },
    };
    ended.map_err(|error| Error::internal(format!("gRPC server: {error}")).with_source(error))
}
