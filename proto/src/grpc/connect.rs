//! Connections to other roles.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use varve_model::{Error, Reason, Result};

use super::listen::{KEEPALIVE, KEEPALIVE_TIMEOUT};

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes in flight towards us per stream.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// And per connection: so many streams may wait for their readers before they stop others. A bound that
/// readers can reach lets a reader that waits for another stream of the same connection wait forever.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 30;

/// A connection that is made when it is first needed. Errors: `InvalidRequest`.
pub(super) fn connect(address: &str) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| {
        Error::invalid(format!("'{address}' is no host:port")).with_reason(Reason::BadValue).with_source(error)
    })?;
    let endpoint = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    Ok(endpoint.connect_lazy())
}
