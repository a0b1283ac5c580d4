//! `/write` and `/api/v2/write`: body in, good lines stored, outcome out.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Request, StatusCode};
use tracing::Instrument;
use varve_model::budget::Charge;
use varve_model::rows::Rows;
use varve_model::{Error, ErrorKind, Reason, Result};
use varve_service::telemetry::stage::{Stage, StageTimer};
use xxhash_rust::xxh3::Xxh3;

use super::failure;
use crate::gateway::{Query, Written};
use crate::http::body::{self, Received};
use crate::http::inflate::Coding;
use crate::http::params::Params;
use crate::http::{App, reply};
use crate::influx::decode::{Decoded, Times, decode};
use crate::influx::outcome::{self, Failure};
use crate::influx::precision::{Api, scale_nanos};
use crate::output::Output;
use crate::session::Session;

/// The retention policy that every InfluxDB database has.
const DEFAULT_POLICY: &str = "autogen";
/// Bodies up to here are decoded on the event loop: a hop to another thread costs more.
const INLINE_BYTES_MAX: usize = 16 << 10;
/// Bytes of decoded columns per byte of text, for the memory account (measured: 0.3 to 1).
const COLUMN_BYTES_PER_TEXT_BYTE: u64 = 1;

/// Where a write goes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    database: String,
    policy: Option<String>,
}

impl Target {
    fn new(database: &str, policy: Option<&str>) -> Self {
        let policy = policy.filter(|policy| *policy != DEFAULT_POLICY);
        Self { database: database.to_owned(), policy: policy.map(str::to_owned) }
    }

    /// varve's database: a retention policy other than the default is a database of its own.
    fn name(&self) -> String {
        match &self.policy {
            Some(policy) => format!("{}/{policy}", self.database),
            None => self.database.clone(),
        }
    }
}

pub(super) async fn v1(State(app): State<App>, request: Request<Body>) -> Response {
    answer(Api::V1, write(Api::V1, &app, request).await)
}

pub(super) async fn v2(State(app): State<App>, request: Request<Body>) -> Response {
    answer(Api::V2, write(Api::V2, &app, request).await)
}

fn answer(api: Api, outcome: Result<(), Failure>) -> Response {
    match outcome {
        Ok(()) => reply::empty(StatusCode::NO_CONTENT),
        Err(found) => failure(api, &found),
    }
}

async fn write(api: Api, app: &App, request: Request<Body>) -> Result<(), Failure> {
    let (parts, request_body) = request.into_parts();
    let refuse = |error: Error| refusal(api, &error);
    let params = Params::of_url(&parts.uri).map_err(refuse)?;
    let target = target(api, &params)?;
    let scale_nanos = scale_nanos(api, params.get("precision")).map_err(Failure::invalid)?;
    let mut session = session(app, &parts.headers, &params, &target).map_err(refuse)?;
    let coding = Coding::of(&parts.headers).map_err(refuse)?;
    let times = Times { scale_nanos, arrival_nanos: app.setup.clock.wall_nanos() };

    let received = body::read(app, &parts.headers, request_body).await.map_err(refuse)?;
    let is_keyed = session.idempotency_key.is_some();
    let text = decode_body(app, received, coding, times, is_keyed).await.map_err(refuse)?;
    let Text { mut decoded, charge, digest } = text;
    session.body = digest;

    let rows = std::mem::take(&mut decoded.rows);
    let lines_stored = rows.len();
    // Also without rows: an unknown database is named before bad lines are.
    let written = match store(app, session.clone(), rows, charge).await {
        Ok(written) => written,
        Err(error) if (error.kind(), error.reason()) == (ErrorKind::NotFound, Reason::Database) => {
            return Err(missing(api, app, &session, &target).await);
        }
        Err(error) => return Err(refusal(api, &error)),
    };
    match outcome::of_write(api, &decoded, lines_stored, &written) {
        None => Ok(()),
        Some(found) => Err(found),
    }
}

/// Stores rows in a task of its own: a client that goes does not break a write off half-way.
async fn store(app: &App, session: Session, rows: Rows, charge: Charge) -> Result<Written> {
    let (gateway, timeout) = (app.setup.gateway.clone(), session.timeout);
    let work = async move {
        let written = gateway.write(&session, rows).await;
        drop(charge);
        written
    };
    let writing = app.tasks.spawn("write", work.in_current_span());
    let ended =
        async { writing.await.unwrap_or_else(|error| Err(Error::internal("write panicked").with_source(error))) };
    app.within(timeout, ended).await
}

/// The failure of an error, which ends its travel here.
fn refusal(api: Api, error: &Error) -> Failure {
    match error.kind() {
        ErrorKind::Internal | ErrorKind::Corrupt => tracing::error!(?error, "write failed"),
        _ => tracing::debug!(%error, "write refused"),
    }
    outcome::of_error(api, error)
}

fn target(api: Api, params: &Params) -> Result<Target, Failure> {
    match api {
        Api::V1 => {
            let database = params.get("db").ok_or_else(|| Failure::no_database(api))?;
            Ok(Target::new(database, params.get("rp")))
        }
        Api::V2 => {
            // GreptimeDB's twin of the route takes `db` as well.
            let bucket = params.get("bucket").or_else(|| params.get("db")).ok_or_else(|| Failure::no_database(api))?;
            Ok(match bucket.split_once('/') {
                Some((database, policy)) if !policy.is_empty() => Target::new(database, Some(policy)),
                _ => Target::new(bucket.trim_end_matches('/'), None),
            })
        }
    }
}

fn session(app: &App, headers: &HeaderMap, params: &Params, target: &Target) -> Result<Session> {
    let mut session = super::session(app, headers, params)?;
    session.database = target.name();
    Ok(session)
}

/// A body that was read.
#[derive(Debug)]
struct Text {
    decoded: Decoded,
    /// For the columns of the rows.
    charge: Charge,
    /// See [`digest`].
    digest: Option<u128>,
}

/// Hash of a text and of the unit of its timestamps: the same for a repeat, however that is compressed.
fn digest(text: &[u8], times: Times) -> u128 {
    let mut hash = Xxh3::with_seed(0);
    hash.update(&times.scale_nanos.to_le_bytes());
    hash.update(text);
    hash.digest128()
}

/// Inflates and decodes, off the event loop when it takes long; `is_keyed`: the text is hashed, too.
async fn decode_body(app: &App, received: Received, coding: Coding, times: Times, is_keyed: bool) -> Result<Text> {
    let seed = app.hash_seed;
    let small = coding == Coding::Identity && received.bytes.len() <= INLINE_BYTES_MAX;
    let work = move || {
        let timer = StageTimer::start(Stage::Decode);
        // One charge for all that is made of the body: whether it ever fits is said of the whole.
        let Received { bytes: text, mut charge } = coding.decode(received)?;
        let columns = text.len() as u64 * COLUMN_BYTES_PER_TEXT_BYTE;
        charge.admit(columns)?;
        let decoded = decode(&text, times, seed);
        timer.finish(decoded.rows.len(), text.len());
        let digest = is_keyed.then(|| digest(&text, times));
        drop(text);
        charge.shrink(charge.bytes() - columns);
        Ok(Text { decoded, charge, digest })
    };
    if small { work() } else { app.tasks.blocking("decode", work).await? }
}

/// Which name is unknown: the database, or its retention policy.
async fn missing(api: Api, app: &App, session: &Session, target: &Target) -> Failure {
    let unknown = Failure::unknown_database(api, if api == Api::V1 { &target.database } else { &session.database });
    let Some(policy) = &target.policy else { return unknown };
    match database_names(app, session).await {
        Ok(names) if names.contains(&target.database) => Failure::unknown_policy(policy),
        Ok(_) => unknown,
        Err(error) => refusal(api, &error),
    }
}

/// All databases.
pub(super) async fn database_names(app: &App, session: &Session) -> Result<Vec<String>> {
    let session = Session { database: varve_model::name::DEFAULT_DATABASE.to_owned(), ..session.next() };
    let query = Query::Sql { text: "SHOW DATABASES".to_owned(), params: Vec::new() };
    let outputs = app.within(session.timeout, app.setup.gateway.run(&session, query)).await?;
    let mut names = Vec::new();
    for output in outputs {
        if let Output::Rows { stream, .. } = output {
            for batch in app.within(session.timeout, Output::collect(stream)).await? {
                let column = arrow::compute::cast(batch.column(0), &arrow_schema::DataType::Utf8)
                    .map_err(|error| Error::internal("SHOW DATABASES answers text").with_source(error))?;
                let column = arrow_array::cast::as_string_array(&column);
                names.extend(column.iter().flatten().map(str::to_owned));
            }
        }
    }
    Ok(names)
}
