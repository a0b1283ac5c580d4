//! The MySQL wire: text and prepared protocol.
//!
//! mysql_common gives framing, handshake and column packets. OK, EOF and row
//! packets, and the values of prepared statements, it has for clients only, so
//! they are written and read here, with every read checked. The loop is ours as
//! well, so that results stream with bounded memory and a query ends when its
//! client goes.

mod command;
mod connection;
mod cursor;
mod encode;
mod failure;
mod kind;
mod login;
mod prepared;
mod reply;
#[cfg(test)]
mod tests;
mod text;
mod wire;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use varve_model::limits::MYSQL_CONNECTIONS_MAX;
use varve_service::clock::{SharedClock, SystemClock};
use varve_service::task::TaskSet;

use crate::accept::Accept;
use crate::gateway::Gateway;

/// The version MySQL clients see; they parse the three numbers and take features from them.
const SERVER_VERSION: &str = concat!("8.4.2-varve-", env!("CARGO_PKG_VERSION"));

/// What all connections share.
#[derive(Debug)]
struct Shared {
    gateway: Arc<dyn Gateway>,
    clock: SharedClock,
    tasks: TaskSet,
    next_id: AtomicU32,
    /// Connections by the id that KILL names.
    running: Mutex<HashMap<u32, Process>>,
}

/// A connection as KILL sees it.
#[derive(Debug)]
struct Process {
    /// Ends the connection.
    end: CancellationToken,
    /// The query that runs, if any.
    query: Option<CancellationToken>,
}

/// What KILL ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kill {
    Query,
    Connection,
}

impl Shared {
    fn new(gateway: Arc<dyn Gateway>, tasks: TaskSet) -> Self {
        Self { gateway, clock: Arc::new(SystemClock), tasks, next_id: AtomicU32::new(1), running: Mutex::default() }
    }

    /// An id for a new connection, and what ends it.
    fn enter(&self) -> (u32, CancellationToken) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let end = CancellationToken::new();
        self.running.lock().insert(id, Process { end: end.clone(), query: None });
        (id, end)
    }

    fn leave(&self, id: u32) {
        self.running.lock().remove(&id);
    }

    /// Names the query that this connection runs from now on.
    fn runs(&self, id: u32, query: Option<CancellationToken>) {
        if let Some(process) = self.running.lock().get_mut(&id) {
            process.query = query;
        }
    }

    /// Ends a connection or its query. Whether there is such a connection.
    fn kill(&self, id: u32, what: Kill) -> bool {
        let running = self.running.lock();
        let Some(process) = running.get(&id) else { return false };
        if let Some(query) = &process.query {
            query.cancel();
        }
        if what == Kill::Connection {
            process.end.cancel();
        }
        true
    }
}

/// Starts serving; returns at once and ends with the task set, after the queries in flight.
pub fn serve(listener: TcpListener, gateway: Arc<dyn Gateway>, tasks: TaskSet) {
    let shared = Arc::new(Shared::new(gateway, tasks.clone()));
    tasks.spawn("mysql listener", accept(listener, shared));
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let (clock, tasks) = (shared.clock.clone(), shared.tasks.clone());
    let accept = Accept { wire: "mysql", connections_max: MYSQL_CONNECTIONS_MAX, clock, tasks };
    accept.run(listener, |stream, has_room| connection::serve(stream, shared.clone(), has_room)).await;
}
