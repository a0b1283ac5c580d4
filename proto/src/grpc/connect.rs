//! Connections to other roles.

use std::time::Duration;

use tonic::transport::Endpoint;
use varve_model::budget::Account;
use varve_model::{Error, Reason, Result};

use super::charge::ChargedChannel;
use super::listen::{KEEPALIVE, KEEPALIVE_TIMEOUT};
use super::window;
use crate::metasrv::{ABSENCE_MAX, WATCH_PAUSE_MAX};

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a frontend takes at most to notice that its metasrv has vanished, and to watch the next one.
const ABSENCE: u64 =
    KEEPALIVE.as_secs() + KEEPALIVE_TIMEOUT.as_secs() + WATCH_PAUSE_MAX.as_secs() + CONNECT_TIMEOUT.as_secs();
const _: () = assert!(ABSENCE < ABSENCE_MAX.as_secs());

/// A connection that is made when it is first needed, its answers charged to the account. Errors: `InvalidRequest`.
pub(super) fn connect(address: &str, account: &Account) -> Result<ChargedChannel> {
    connect_for(address, account, window::STREAMS_MAX)
}

/// A connection for so many calls at once.
pub(super) fn connect_for(address: &str, account: &Account, streams: u32) -> Result<ChargedChannel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| {
        Error::invalid(format!("'{address}' is no host:port")).with_reason(Reason::BadValue).with_source(error)
    })?;
    let endpoint = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .initial_stream_window_size(window::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(window::of_connection(streams))
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    Ok(ChargedChannel::new(endpoint.connect_lazy(), account.clone()))
}
