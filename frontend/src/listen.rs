//! Opens the clients' wires.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use varve_model::Result;
use varve_model::budget::Account;
use varve_protocol::gateway::Gateway;
use varve_protocol::http::HttpSetup;
use varve_protocol::{mux, mysql, postgres};
use varve_service::clock::SharedClock;
use varve_service::net::bind;
use varve_service::net::status::Node;
use varve_service::task::TaskSet;
use varve_service::telemetry::metrics::Metrics;

use crate::config::FrontendConfig;

#[cfg(test)]
mod tests;

/// What the wires need beside the database.
#[derive(Clone, Debug)]
pub struct Host {
    /// Who this is.
    pub node: Node,
    /// Shown at `/metrics`.
    pub metrics: Metrics,
    /// Set once writes and queries are served.
    pub ready: Arc<AtomicBool>,
    /// Time and randomness.
    pub clock: SharedClock,
    /// Pays for requests: bodies, messages, prepared statements, what connections buffer.
    pub requests: Account,
    /// Where connections run.
    pub tasks: TaskSet,
}

/// Where clients connect; port 0 has become a real one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// HTTP.
    pub http: SocketAddr,
    /// MySQL.
    pub mysql: SocketAddr,
    /// PostgreSQL.
    pub postgres: SocketAddr,
}

/// Binds every listener before it serves any, so that a taken port starts nothing.
/// Errors: an address that is taken or not loopback.
pub async fn listen(config: &FrontendConfig, gateway: Arc<dyn Gateway>, host: Host) -> Result<Addresses> {
    let (http_listener, http) = bind("HTTP", config.http_addr).await?;
    let (mysql_listener, mysql) = bind("MySQL", config.mysql_addr).await?;
    let (postgres_listener, postgres) = bind("PostgreSQL", config.postgres_addr).await?;
    gateway.processes().listens_on(http);
    let Host { node, metrics, ready, clock, requests, tasks } = host;
    let setup = HttpSetup { gateway: Arc::clone(&gateway), metrics, ready, node, clock, memory: requests.clone() };
    mux::serve_http(http_listener, setup, tasks.clone());
    mysql::serve(mysql_listener, Arc::clone(&gateway), requests.clone(), tasks.clone());
    postgres::serve(postgres_listener, gateway, requests, tasks);
    Ok(Addresses { http, mysql, postgres })
}
