//! The PostgreSQL wire: simple and extended protocol, text and binary.
//!
//! pgwire gives the messages that we send. What clients send is framed and read
//! here, with every read checked: pgwire's decoders trust lengths inside a
//! message and read past its end. The loop is ours as well, so that results
//! stream with bounded memory and a query ends when its client goes.

mod connection;
mod cursor;
mod encode;
mod extended;
mod failure;
mod frame;
mod kind;
mod params;
mod startup;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use varve_model::limits::POSTGRES_CONNECTIONS_MAX;
use varve_service::clock::{SharedClock, SystemClock};
use varve_service::task::TaskSet;

use crate::accept::Accept;
use crate::gateway::Gateway;

/// The version PostgreSQL clients see; those that parse it look at the first number.
const SERVER_VERSION: &str = concat!("15.0 (varve ", env!("CARGO_PKG_VERSION"), ")");

/// What all connections share.
#[derive(Debug)]
struct Shared {
    gateway: Arc<dyn Gateway>,
    clock: SharedClock,
    tasks: TaskSet,
    next_process: AtomicI32,
    /// Running queries by process id; the secret must match too.
    running: Mutex<HashMap<i32, Process>>,
}

/// A connection as a cancel request sees it.
#[derive(Debug)]
struct Process {
    secret: i32,
    /// The query that runs, if any.
    query: Option<CancellationToken>,
}

impl Shared {
    /// A process id and secret for a new connection.
    fn enter(&self) -> (i32, i32) {
        let process = self.next_process.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        let secret = self.clock.random() as i32;
        self.running.lock().insert(process, Process { secret, query: None });
        (process, secret)
    }

    fn leave(&self, process: i32) {
        self.running.lock().remove(&process);
    }

    /// Names the query that this process runs from now on.
    fn runs(&self, process: i32, query: Option<CancellationToken>) {
        if let Some(entry) = self.running.lock().get_mut(&process) {
            entry.query = query;
        }
    }

    /// Stops the query of a process, if the secret is right. Nobody is told whether it was.
    fn cancel(&self, process: i32, secret: &[u8]) {
        if let Some(entry) = self.running.lock().get(&process)
            && entry.secret.to_be_bytes() == secret
            && let Some(query) = &entry.query
        {
            query.cancel();
        }
    }
}

/// Starts serving; returns at once and ends with the task set, after the queries in flight.
pub fn serve(listener: TcpListener, gateway: Arc<dyn Gateway>, tasks: TaskSet) {
    let shared = Arc::new(Shared {
        gateway,
        clock: Arc::new(SystemClock),
        tasks: tasks.clone(),
        next_process: AtomicI32::new(1),
        running: Mutex::default(),
    });
    tasks.spawn("postgres listener", accept(listener, shared));
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let (clock, tasks) = (shared.clock.clone(), shared.tasks.clone());
    let accept = Accept { wire: "postgres", connections_max: POSTGRES_CONNECTIONS_MAX, clock, tasks };
    accept.run(listener, |stream, has_room| connection::serve(stream, shared.clone(), has_room)).await;
}
