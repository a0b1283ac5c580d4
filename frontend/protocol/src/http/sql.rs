//! `/v1/sql`: SQL in, GreptimeDB's JSON and a few other formats out.

mod answer;
mod delimited;
mod encode;
mod error;
mod ipc;
mod json;
mod table;
#[cfg(test)]
mod tests;

use std::future::pending;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::Request;
use varve_model::limits::SQL_TEXT_BYTES_MAX;
use varve_model::{Error, Reason, Result};

use self::answer::Answer;
use self::encode::Format;
use super::app::Peer;
use super::params::Params;
use super::{App, app, body};
use crate::gateway::Query;
use crate::session::Wire;

/// The route.
pub fn routes() -> Router<App> {
    Router::new().route("/v1/sql", get(run).post(run))
}

async fn run(State(app): State<App>, request: Request<Body>) -> Response {
    let started = app.setup.clock.boot();
    match execute(&app, request, started).await {
        Ok(response) => response,
        Err(found) => error::response(&found, elapsed(&app, started)),
    }
}

/// Time since the request came.
fn elapsed(app: &App, started: Duration) -> Duration {
    app.setup.clock.boot().saturating_sub(started)
}

async fn execute(app: &App, request: Request<Body>, started: Duration) -> Result<Response> {
    let client = request.extensions().get::<Peer>().map(|peer| peer.0);
    let (params, headers) = Params::of(app, request).await?;
    let mut session = app.session(Wire::HttpSql, &headers)?;
    if let Some(database) = params.get("db") {
        app::database_of(database).clone_into(&mut session.database);
    }
    let text =
        params.get("sql").ok_or_else(|| Error::invalid("sql parameter is required").with_reason(Reason::BadValue))?;
    if text.len() > SQL_TEXT_BYTES_MAX {
        return Err(body::too_large(format!("SQL text is longer than {SQL_TEXT_BYTES_MAX} bytes")));
    }
    let format = Format::of(&params)?;
    let limit = match params.get("limit") {
        None => None,
        Some(text) => Some(text.parse::<usize>().map_err(|_| {
            Error::invalid(format!("limit must be a number of rows, not '{text}'")).with_reason(Reason::BadValue)
        })?),
    };
    let execution = app.setup.gateway.processes().enter(Wire::HttpSql, client).into_statement(&session, text);
    let query = Query::Sql { text: text.to_owned(), params: Vec::new() };
    // The task of a client that has gone is dropped as a whole.
    let outcome = execution.bound(pending(), app.setup.gateway.run(&session, query)).await;
    let outputs = outcome.map_err(error::of)??;
    format.check(&outputs)?;
    Answer { app: app.clone(), outputs, format, limit, started, execution }.respond().await
}
