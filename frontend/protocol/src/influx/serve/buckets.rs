//! InfluxDB 2's buckets: varve's databases under another name.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::request::Parts;
use http::{Request, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use varve_model::limits::SQL_TEXT_BYTES_MAX;
use varve_model::{Error, ErrorKind, Reason, Result};
use xxhash_rust::xxh3::xxh3_64;

use super::failure;
use super::write::database_names;
use crate::gateway::Query;
use crate::http::params::Params;
use crate::http::{App, body, reply};
use crate::influx::outcome::{self, Failure};
use crate::influx::precision::Api;

/// The body of a request for a new bucket; unknown keys are ignored, as there.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewBucket {
    name: String,
    #[serde(default, rename = "orgID")]
    org_id: Option<String>,
    #[serde(default)]
    retention_rules: Vec<RetentionRule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RetentionRule {
    #[serde(default)]
    every_seconds: u64,
}

/// The id of the one organisation: clients only send it back.
const ORGANISATION: &str = "0000000000000001";

fn shown(name: &str, organisation: &str, every_seconds: u64) -> Value {
    let rules = if every_seconds == 0 { json!([]) } else { json!([{"type": "expire", "everySeconds": every_seconds}]) };
    json!({
        // Clients need a stable id of 16 hex digits; the name is the identity.
        "id": format!("{:016x}", xxh3_64(name.as_bytes())),
        "orgID": organisation,
        "type": "user",
        "name": name,
        "retentionRules": rules,
        "labels": [],
    })
}

pub(super) async fn list(State(app): State<App>, request: Request<Body>) -> Response {
    let (parts, _) = request.into_parts();
    match listed(&app, &parts).await {
        Ok(body) => reply::json(StatusCode::OK, &body),
        Err(error) => failure(Api::V2, &outcome::of_error(Api::V2, &error)),
    }
}

async fn listed(app: &App, parts: &Parts) -> Result<Value> {
    let params = Params::of_url(&parts.uri)?;
    let session = super::session(app, &parts.headers, &params)?;
    let number = |name: &str, default| params.get(name).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (offset, limit) = (number("offset", 0), number("limit", usize::MAX));
    let names = database_names(app, &session).await?.into_iter();
    let buckets = names
        .map(|name| shown(&name, params.get("orgID").unwrap_or(ORGANISATION), 0))
        .filter(|bucket| params.get("name").is_none_or(|name| bucket["name"] == name))
        .filter(|bucket| params.get("id").is_none_or(|id| bucket["id"] == id));
    let buckets = buckets.skip(offset).take(limit).collect::<Vec<_>>();
    Ok(json!({"links": {"self": "/api/v2/buckets"}, "buckets": buckets}))
}

pub(super) async fn create(State(app): State<App>, request: Request<Body>) -> Response {
    match created(&app, request).await {
        Ok(body) => reply::json(StatusCode::CREATED, &body),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let found =
                Failure { status: 422, code: "conflict", message: error.message().to_owned(), retry_later: false };
            failure(Api::V2, &found)
        }
        Err(error) => failure(Api::V2, &outcome::of_error(Api::V2, &error)),
    }
}

async fn created(app: &App, request: Request<Body>) -> Result<Value> {
    let (parts, request_body) = request.into_parts();
    let session = super::session(app, &parts.headers, &Params::of_url(&parts.uri)?)?;
    let received = body::read(app, &parts.headers, request_body).await?;
    if received.bytes.len() > SQL_TEXT_BYTES_MAX {
        return Err(body::too_large(format!("a bucket is described in at most {SQL_TEXT_BYTES_MAX} bytes")));
    }
    let bucket = serde_json::from_slice::<NewBucket>(&received.bytes)
        .map_err(|error| Error::invalid(format!("bucket: {error}")).with_reason(Reason::BadValue))?;
    let every_seconds = bucket.retention_rules.first().map_or(0, |rule| rule.every_seconds);
    let mut text = format!("CREATE DATABASE \"{}\"", bucket.name.replace('"', "\"\""));
    if every_seconds > 0 {
        text.extend([" WITH (ttl = '", &every_seconds.to_string(), "s')"]);
    }
    let query = Query::Sql { text, params: Vec::new() };
    app.within(session.timeout, app.setup.gateway.run(&session, query)).await?;
    Ok(shown(&bucket.name, bucket.org_id.as_deref().unwrap_or(ORGANISATION), every_seconds))
}
