//! What every HTTP handler shares.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderMap;
use varve_model::budget::Account;
use varve_model::limits::QUERY_TIMEOUT_MAX;
use varve_model::{Error, ErrorKind, Reason, Result};
use varve_service::clock::SharedClock;
use varve_service::net::status::Node;
use varve_service::task::TaskSet;
use varve_service::telemetry::metrics::Metrics;

use super::user;
use crate::gateway::Gateway;
use crate::session::{Session, Wire, user_name};

/// What the HTTP server needs from its host.
#[derive(Clone, Debug)]
pub struct HttpSetup {
    /// The database.
    pub gateway: Arc<dyn Gateway>,
    /// Shown at `/metrics`.
    pub metrics: Metrics,
    /// Set by the host once writes and queries are served, and taken back when it stops.
    pub ready: Arc<AtomicBool>,
    /// Who this is.
    pub node: Node,
    /// Time and randomness.
    pub clock: SharedClock,
    /// Pays for bodies from arrival to answer.
    pub memory: Account,
}

/// Shared state of all handlers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App(Arc<Shared>);

/// See [`App`].
#[derive(Debug)]
pub struct Shared {
    /// What the host gave.
    pub setup: HttpSetup,
    /// Where heavy work and answers in progress run.
    pub tasks: TaskSet,
    /// Boot time when the server started.
    started: Duration,
    /// Wall time when the server started.
    pub started_wall_nanos: i64,
    /// Keys hash tables over clients' bytes.
    pub hash_seed: u64,
}

impl Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// Who sent a request: an extension of each.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Longest `Idempotency-Key` in bytes.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

impl App {
    /// The state of a server that starts now.
    pub fn new(setup: HttpSetup, tasks: TaskSet) -> Self {
        let clock = &setup.clock;
        let (started, started_wall_nanos) = (clock.boot(), clock.wall_nanos());
        let hash_seed = clock.random() as u64;
        Self(Arc::new(Shared { setup, tasks, started, started_wall_nanos, hash_seed }))
    }

    /// Whether writes and queries are served.
    pub fn is_ready(&self) -> bool {
        self.setup.ready.load(Ordering::Relaxed)
    }

    /// Time since the server started.
    pub fn uptime(&self) -> Duration {
        self.setup.clock.boot().saturating_sub(self.started)
    }

    /// The session of a request. Errors: `InvalidRequest` for a header that cannot be read.
    pub fn session(&self, wire: Wire, headers: &HeaderMap) -> Result<Session> {
        let mut session = Session::new(wire);
        if let Some(id) = super::reply::request_id(headers) {
            session.request_id = id;
        }
        session.traceparent = super::reply::trace(headers).map(|(context, _)| context.to_owned());
        session.user = user::of_headers(headers).map_or_else(String::new, |name| user_name(&name));
        if let Some(value) = headers.get("idempotency-key") {
            let key = value.to_str().ok().filter(|key| !key.is_empty() && key.len() <= IDEMPOTENCY_KEY_BYTES_MAX);
            let key = key.ok_or_else(|| {
                bad(format!("Idempotency-Key must be 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters"))
            })?;
            session.idempotency_key = Some(key.to_owned());
        }
        if let Some(zone) = first(headers, &["x-varve-timezone", "x-greptime-timezone"]) {
            zone.clone_into(&mut session.time_zone);
        }
        if let Some(text) = first(headers, &["x-varve-timeout", "x-greptime-timeout"]) {
            let timeout = humantime::parse_duration(text)
                .map_err(|error| bad(format!("header x-varve-timeout: '{text}' is not a duration: {error}")))?;
            session.timeout = timeout.min(QUERY_TIMEOUT_MAX);
        }
        if let Some(database) = first(headers, &["x-varve-db", "x-greptime-db-name"]) {
            database_of(database).clone_into(&mut session.database);
        }
        Ok(session)
    }

    /// Runs `work`, at most for `timeout`. Errors: `Timeout`, and those of `work`.
    pub async fn within<T>(&self, timeout: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            outcome = work => outcome,
            () = self.setup.clock.sleep(timeout) => Err(timed_out(timeout)),
        }
    }
}

/// The error of a request whose time is up.
pub fn timed_out(timeout: Duration) -> Error {
    Error::new(ErrorKind::Timeout, format!("request took longer than {}", humantime::format_duration(timeout)))
}

/// The database in a `schema` or `catalog-schema` text as GreptimeDB's clients write it.
pub fn database_of(text: &str) -> &str {
    text.strip_prefix("greptime-").unwrap_or(text)
}

fn bad(message: String) -> Error {
    Error::invalid(message).with_reason(Reason::BadValue)
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn first<'h>(headers: &'h HeaderMap, names: &[&str]) -> Option<&'h str> {
    names.iter().find_map(|name| text(headers, name)).filter(|text| !text.is_empty())
}
