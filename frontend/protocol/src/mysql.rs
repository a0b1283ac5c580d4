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

use std::sync::Arc;

use tokio::net::TcpListener;
use varve_model::budget::Account;
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
    /// Pays for what clients send, and for what is made of it.
    memory: Account,
    tasks: TaskSet,
}

/// Starts serving; returns at once and ends with the task set, after the queries in flight. What connections hold is
/// charged to `memory`.
pub fn serve(listener: TcpListener, gateway: Arc<dyn Gateway>, memory: Account, tasks: TaskSet) {
    let shared = Arc::new(Shared { gateway, clock: Arc::new(SystemClock), memory, tasks: tasks.clone() });
    tasks.spawn("mysql listener", accept(listener, shared));
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let (clock, tasks) = (shared.clock.clone(), shared.tasks.clone());
    let accept = Accept { wire: "mysql", connections_max: MYSQL_CONNECTIONS_MAX, clock, tasks };
    accept.run(listener, |stream, has_room| connection::serve(stream, shared.clone(), has_room)).await;
}
