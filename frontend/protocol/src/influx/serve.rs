//! The routes of InfluxDB's API, under their own paths and under `/v1/influxdb`.

mod buckets;
mod query;
#[cfg(test)]
mod tests;
mod write;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ORIGIN, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use serde_json::json;
use varve_model::Result;

use super::outcome::Failure;
use super::precision::Api;
use crate::http::params::Params;
use crate::http::{App, admin, reply};
use crate::session::{Session, Wire, user_name};

/// Bytes of an error's text in its header.
const ERROR_HEADER_BYTES_MAX: usize = 1024;

/// The routes.
pub fn routes(app: &App) -> Router<App> {
    Router::new()
        .route("/write", post(write::v1).options(preflight))
        .route("/v1/influxdb/write", post(write::v1).options(preflight))
        .route("/api/v2/write", post(write::v2).options(preflight))
        .route("/v1/influxdb/api/v2/write", post(write::v2).options(preflight))
        .route("/query", get(query::run).post(query::run).options(preflight))
        .route("/v1/influxdb/query", get(query::run).post(query::run).options(preflight))
        .route("/api/v2/query", post(flux))
        .route("/v1/influxdb/api/v2/query", post(flux))
        .route("/api/v2/buckets", get(buckets::list).post(buckets::create))
        .route("/v1/influxdb/api/v2/buckets", get(buckets::list).post(buckets::create))
        .route("/ping", get(ping))
        .route("/v1/influxdb/ping", get(ping))
        .route("/health", get(admin::health).options(preflight))
        .route("/api/v1/health", get(admin::health))
        .route("/v1/influxdb/health", get(admin::health))
        .route("/ready", get(ready))
        .layer(from_fn_with_state(app.clone(), stamp))
}

/// The session of a request. InfluxDB 1 takes the user from the URL before it looks at the headers.
/// Errors: those of [`App::session`].
fn session(app: &App, headers: &HeaderMap, params: &Params) -> Result<Session> {
    let mut session = app.session(Wire::Influx, headers)?;
    if let Some(user) = params.get("u") {
        session.user = user_name(user);
    }
    Ok(session)
}

/// The answer to a failed request, in the version's shape.
fn failure(api: Api, failure: &Failure) -> Response {
    let status = StatusCode::from_u16(failure.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = match api {
        Api::V1 => json!({"error": failure.message}),
        Api::V2 => json!({"code": failure.code, "message": failure.message}),
    };
    let mut response = reply::json(status, &body);
    let headers = response.headers_mut();
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"InfluxDB\""));
    } else {
        headers.insert("x-influxdb-error", reply::header_text(&failure.message, ERROR_HEADER_BYTES_MAX));
    }
    if api == Api::V2 {
        headers.insert("x-platform-error-code", HeaderValue::from_static(failure.code));
    }
    if failure.retry_later {
        reply::retry_later(&mut response);
    }
    response
}

/// The headers of every reply.
async fn stamp(State(app): State<App>, request: Request<Body>, next: Next) -> Response {
    let id = request.headers().get("x-request-id").cloned();
    let origin = request.headers().get(ORIGIN).cloned();
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert("x-influxdb-version", version(&app));
    headers.insert("x-influxdb-build", HeaderValue::from_static("OSS"));
    if let Some(id) = id {
        headers.insert("request-id", id);
    }
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("DELETE, GET, OPTIONS, POST, PUT"));
        headers.insert(
            ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("Accept, Accept-Encoding, Authorization, Content-Length, Content-Type, X-CSRF-Token, X-HTTP-Method-Override"),
        );
        headers.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("Date, X-InfluxDB-Version, X-InfluxDB-Build"),
        );
    }
    response
}

fn version_text(app: &App) -> String {
    format!("1.8.10-varve-{}", app.setup.node.version)
}

fn version(app: &App) -> HeaderValue {
    reply::header_text(&version_text(app), ERROR_HEADER_BYTES_MAX)
}

async fn ping(State(app): State<App>, request: Request<Body>) -> Response {
    let params = Params::of_url(request.uri()).unwrap_or_default();
    match params.get("verbose") {
        None | Some("0" | "false") => reply::empty(StatusCode::NO_CONTENT),
        Some(_) => reply::json(StatusCode::OK, &json!({"version": version_text(&app)})),
    }
}

/// Browsers ask before they send from another origin; [`stamp`] gives the answer's headers.
async fn preflight() -> Response {
    reply::empty(StatusCode::NO_CONTENT)
}

/// InfluxDB 2's readiness.
async fn ready(State(app): State<App>) -> Response {
    if !app.is_ready() {
        let body = json!({"code": "unavailable", "message": "not ready"});
        return reply::json(StatusCode::SERVICE_UNAVAILABLE, &body);
    }
    let started = chrono::DateTime::from_timestamp_nanos(app.started_wall_nanos);
    let up = app.uptime().as_secs();
    let up = format!("{}h{}m{}s", up / 3600, up / 60 % 60, up % 60);
    let started = started.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
    reply::json(StatusCode::OK, &json!({"status": "ready", "started": started, "up": up}))
}

async fn flux() -> Response {
    let text = "Flux is not supported; query with SQL at /v1/sql";
    failure(Api::V2, &Failure::invalid(text))
}
