//! Free loopback ports.

use std::net::{SocketAddr, TcpListener};

/// Ports that were free a moment ago, all different.
/// Errors: the machine has none left.
pub fn free<const N: usize>() -> Result<[SocketAddr; N], String> {
    let listeners = (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>();
    let listeners = listeners.map_err(|error| format!("find a free port: {error}"))?;
    let addrs = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>();
    let addrs = addrs.map_err(|error| format!("find a free port: {error}"))?;
    Ok(addrs.try_into().expect("as many as asked for"))
}
