//! Free loopback ports.
//!
//! A port is free until its server listens, which is later. So it is none of
//! those that the system hands to outgoing connections, and none that this
//! process gave away before: then only a stranger's server can take it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below Linux's range for outgoing connections, above the servers that people run.
const FIRST: u32 = 14_000;
const COUNT: u32 = 18_000;
/// Processes that are started one after the other begin this far apart.
const STRIDE: u32 = 7919;

/// Ports given by this process.
static GIVEN: AtomicU32 = AtomicU32::new(0);

/// Ports that were free a moment ago, all different, and different from all that this process was given before.
/// Errors: the machine has none left.
pub fn free<const N: usize>() -> Result<[SocketAddr; N], String> {
    // Held until all are found.
    let listeners = (0..N).map(|_| listener()).collect::<Result<Vec<_>, _>>()?;
    let addrs = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>();
    let addrs = addrs.map_err(|error| format!("find a free port: {error}"))?;
    Ok(addrs.try_into().expect("as many as asked for"))
}

fn listener() -> Result<TcpListener, String> {
    let begin = std::process::id().wrapping_mul(STRIDE);
    for _ in 0..COUNT {
        let number = begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + number).expect("below 32,768");
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(listener);
        }
    }
    Err(format!("no port of {COUNT} from {FIRST} is free"))
}
