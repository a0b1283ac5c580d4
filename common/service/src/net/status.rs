//! Who a process is and whether it serves: `/status`, `/health` and `/metrics` of every role.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::clock::SharedClock;
use crate::task::TaskSet;
use crate::telemetry::metrics::{CONTENT_TYPE_METRICS, Metrics};

/// Who a process is.
#[derive(Clone, Debug)]
pub struct Node {
    /// The node's name.
    pub name: String,
    /// Its role: `standalone`, `frontend`, `datanode`, `metasrv`.
    pub role: &'static str,
    /// varve's version.
    pub version: &'static str,
    /// The commit it was built from.
    pub commit: &'static str,
}

impl Node {
    /// The body of `/status`. `leader` is said by roles that have one.
    pub fn status(&self, uptime: Duration, ready: bool, leader: Option<bool>) -> Value {
        let mut body = json!({
            "name": self.name,
            "role": self.role,
            "version": self.version,
            "commit": self.commit,
            "uptime": humantime::format_duration(Duration::from_secs(uptime.as_secs())).to_string(),
            "uptime_seconds": uptime.as_secs(),
            "ready": ready,
        });
        if let Some(leader) = leader {
            body["leader"] = json!(leader);
        }
        body
    }
}

/// A question that is asked again for every answer. Cheap to clone.
#[derive(Clone)]
pub struct Check(Arc<dyn Fn() -> bool + Send + Sync>);

impl Check {
    /// Asks `holds`, which does not block.
    pub fn new(holds: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(holds))
    }

    fn holds(&self) -> bool {
        (self.0)()
    }
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Check({})", self.holds())
    }
}

/// What a role without clients shows.
#[derive(Clone, Debug)]
pub struct StatusPage {
    /// Who this is.
    pub node: Node,
    /// Shown at `/metrics`.
    pub metrics: Metrics,
    /// Whether it serves: `/health` answers 200.
    pub ready: Check,
    /// Whether it leads, for roles that elect a leader.
    pub leader: Option<Check>,
    /// For the uptime.
    pub clock: SharedClock,
}

#[derive(Debug)]
struct Shown {
    page: StatusPage,
    started: Duration,
}

impl StatusPage {
    /// Starts serving; returns at once. Ends with the task set.
    pub fn serve(self, listener: TcpListener, tasks: &TaskSet) {
        let started = self.clock.boot();
        let routes = Router::new()
            .route("/health", get(health))
            .route("/status", get(status))
            .route("/metrics", get(metrics))
            .with_state(Arc::new(Shown { page: self, started }));
        let stop = tasks.token().clone();
        tasks.spawn("status listener", async move {
            let served = axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await;
            if let Err(error) = served {
                tracing::error!(%error, "the status listener ended");
            }
        });
    }
}

async fn health(State(shown): State<Arc<Shown>>) -> Response {
    if shown.page.ready.holds() {
        (StatusCode::OK, "ready\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}

async fn status(State(shown): State<Arc<Shown>>) -> Response {
    let Shown { page, started } = &*shown;
    let uptime = page.clock.boot().saturating_sub(*started);
    let leader = page.leader.as_ref().map(Check::holds);
    let body = page.node.status(uptime, page.ready.holds(), leader);
    ([(CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}

async fn metrics(State(shown): State<Arc<Shown>>) -> Response {
    ([(CONTENT_TYPE, CONTENT_TYPE_METRICS)], shown.page.metrics.render()).into_response()
}
