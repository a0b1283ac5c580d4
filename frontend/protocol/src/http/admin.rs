//! Health, status and metrics; and the answers for paths that do not exist.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::{StatusCode, Uri};
use serde_json::json;

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
    let node = &app.setup.node;
    let uptime = app.uptime();
    reply::json(
        StatusCode::OK,
        &json!({
            "name": node.name,
            "role": node.role,
            "version": node.version,
            "commit": node.commit,
            "uptime": humantime::format_duration(std::time::Duration::from_secs(uptime.as_secs())).to_string(),
            "uptime_seconds": uptime.as_secs(),
            "ready": app.is_ready(),
        }),
    )
}

async fn metrics(State(app): State<App>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    reply::text(StatusCode::OK, OPEN_METRICS, app.setup.metrics.render())
}

/// For paths that no route takes.
pub async fn unknown_route(uri: Uri) -> Response {
    reply::json(StatusCode::NOT_FOUND, &json!({"error": format!("no such route: {}", uri.path())}))
}

/// For methods that a route does not take.
pub async fn unknown_method(uri: Uri) -> Response {
    reply::json(StatusCode::METHOD_NOT_ALLOWED, &json!({"error": format!("method not allowed on {}", uri.path())}))
}
