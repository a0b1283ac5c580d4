//! Listeners.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use varve_model::{Error, Reason, Result};

pub mod status;

/// Binds a listener. Port 0 takes a free port.
///
/// Errors: `InvalidRequest` for an address that is not loopback, because
/// there is no authentication yet; `Unavailable` when the port is taken.
pub async fn bind(what: &str, addr: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    if !addr.ip().is_loopback() {
        return Err(Error::invalid(format!("{what} address {addr} is not a loopback address"))
            .with_reason(Reason::BadValue)
            .with_hint("there is no authentication yet, so varve listens on loopback only"));
    }
    let listener = TcpListener::bind(addr).await.map_err(|error| {
        Error::unavailable(format!("cannot listen on {addr} for {what}: {error}")).with_source(error)
    })?;
    let addr =
        listener.local_addr().map_err(|error| Error::internal("a bound listener has an address").with_source(error))?;
    Ok((listener, addr))
}
