//! Health, status and metrics; and the answers for paths that do not exist.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::{StatusCode, Uri};
use serde_json::json;
use varve_service::telemetry::metrics::CONTENT_TYPE_METRICS;

use super::App;
use super::reply;

/// The routes that belong to no protocol.
pub fn routes() -> Router<App> {
    Router::new().route("/v1/health", get(health)).route("/status", get(status)).route("/metrics", get(metrics))
}

/// 200 only while writes and queries are served. The body is InfluxDB's.
pub async fn health(State(app): State<App>) -> Response {
    let version = app.setup.node.version;
    if app.is_ready() {
        let body = json!({"name": "varve", "message": "ready for queries and writes", "status": "pass", "checks": [], "version": version});
        return reply::json(StatusCode::OK, &body);
    }
    let body = json!({"name": "varve", "message": "not ready", "status": "fail", "checks": [], "version": version});
    reply::json(StatusCode::SERVICE_UNAVAILABLE, &body)
}

async fn status(State(app): State<App>) -> Response {
    reply::json(StatusCode::OK, &app.setup.node.status(app.uptime(), app.is_ready(), None))
}

async fn metrics(State(app): State<App>) -> Response {
    reply::text(StatusCode::OK, CONTENT_TYPE_METRICS, app.setup.metrics.render())
}

/// For paths that no route takes.
pub async fn unknown_route(uri: Uri) -> Response {
    reply::json(StatusCode::NOT_FOUND, &json!({"error": format!("no such route: {}", uri.path())}))
}

/// For methods that a route does not take.
pub async fn unknown_method(uri: Uri) -> Response {
    reply::json(StatusCode::METHOD_NOT_ALLOWED, &json!({"error": format!("method not allowed on {}", uri.path())}))
}
