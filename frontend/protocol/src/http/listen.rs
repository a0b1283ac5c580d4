//! HTTP connections: time-outs, request ids, panics, graceful end.

use std::panic::AssertUnwindSafe;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use futures::FutureExt;
use http::{HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::Instrument;
use varve_model::limits::{HTTP_CONNECTIONS_MAX, HTTP_IDLE_TIMEOUT};

use super::app::Peer;
use super::{App, admin, reply};
use crate::accept::Accept;

/// Starts serving the routes; returns at once. Ends with the task set, after the requests in flight.
pub fn serve(listener: TcpListener, routes: Router<App>, app: App) {
    let router = routes
        .fallback(admin::unknown_route)
        .method_not_allowed_fallback(admin::unknown_method)
        .layer(from_fn(catch))
        .layer(from_fn_with_state(app.clone(), identify))
        .with_state(app.clone());
    let tasks = app.tasks.clone();
    tasks.spawn("http listener", accept(listener, router, app));
}

async fn accept(listener: TcpListener, router: Router, app: App) {
    let (clock, tasks) = (app.setup.clock.clone(), app.tasks.clone());
    let accept = Accept { wire: "http", connections_max: HTTP_CONNECTIONS_MAX, clock, tasks };
    accept
        .run(listener, |stream, has_room| connection(stream, has_room, router.clone(), app.tasks.token().clone()))
        .await;
}

async fn connection(stream: TcpStream, has_room: bool, router: Router, token: CancellationToken) {
    if !has_room {
        tracing::warn!(connections_max = HTTP_CONNECTIONS_MAX, "http connection refused: too many");
        return;
    }
    // A client that has gone already sends no request.
    let Ok(peer) = stream.peer_addr() else { return };
    // Without Nagle's delay; a socket that refuses it is closing already.
    let _ = stream.set_nodelay(true);
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        request
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HTTP_IDLE_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::pin!(serving);
    let outcome = tokio::select! {
        outcome = serving.as_mut() => outcome,
        () = token.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "http connection ended early");
    }
}

/// Gives the request an id, a span, and the id back in the answer.
async fn identify(State(app): State<App>, mut request: Request<Body>, next: Next) -> Response {
    let id = reply::request_id(request.headers())
        .unwrap_or_else(|| uuid::Uuid::from_u128(app.setup.clock.random()).to_string());
    let value = reply::header_text(&id, usize::MAX);
    request.headers_mut().insert("x-request-id", value.clone());
    let span = tracing::info_span!("http", request = %id, method = %request.method(), path = request.uri().path());
    let mut response = next.run(request).instrument(span).await;
    response.headers_mut().entry("x-request-id").or_insert(value);
    response
}

/// A panic in one request ends that request only.
async fn catch(request: Request<Body>, next: Next) -> Response {
    if let Ok(response) = AssertUnwindSafe(next.run(request)).catch_unwind().await {
        return response;
    }
    tracing::error!("a request handler panicked");
    let mut response = reply::json(StatusCode::INTERNAL_SERVER_ERROR, &json!({"error": "internal error"}));
    response.headers_mut().insert("connection", HeaderValue::from_static("close"));
    response
}
