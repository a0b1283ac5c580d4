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

use std::sync::Arc;

use tokio::net::TcpListener;
use varve_model::budget::Account;
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
    /// Pays for what clients send, and for what is made of it.
    memory: Account,
    tasks: TaskSet,
}

/// Starts serving; returns at once and ends with the task set, after the queries in flight. What connections hold is
/// charged to `memory`.
pub fn serve(listener: TcpListener, gateway: Arc<dyn Gateway>, memory: Account, tasks: TaskSet) {
    let shared = Arc::new(Shared { gateway, clock: Arc::new(SystemClock), memory, tasks: tasks.clone() });
    tasks.spawn("postgres listener", accept(listener, shared));
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let (clock, tasks) = (shared.clock.clone(), shared.tasks.clone());
    let accept = Accept { wire: "postgres", connections_max: POSTGRES_CONNECTIONS_MAX, clock, tasks };
    accept.run(listener, |stream, has_room| connection::serve(stream, shared.clone(), has_room)).await;
}
