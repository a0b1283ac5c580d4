//! Who asks, and how: immutable per request.

use std::time::Duration;

use varve_model::limits::QUERY_TIMEOUT;
use varve_model::name::DEFAULT_DATABASE;

/// The wire a request came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wire {
    /// InfluxDB's write API.
    Influx,
    /// `/v1/sql`.
    HttpSql,
    /// PostgreSQL.
    Postgres,
    /// MySQL.
    Mysql,
}

impl Wire {
    /// Its name in lists and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Influx => "influx",
            Self::HttpSql => "http",
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
        }
    }
}

/// The setting of one request. A connection keeps one and replaces it on SET and USE.
#[derive(Clone, Debug)]
pub struct Session {
    /// Unique; in logs, spans and replies.
    pub request_id: String,
    /// The wire.
    pub wire: Wire,
    /// Database that unqualified names are in.
    pub database: String,
    /// The connection's number among all of the cluster; 0 for requests without one.
    pub connection: u32,
    /// The user name the client gave.
    pub user: String,
    /// IANA name or offset in which timestamps without one are read and shown.
    pub time_zone: String,
    /// How long the request may take.
    pub timeout: Duration,
    /// W3C trace context the client sent.
    pub traceparent: Option<String>,
    /// The client's `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// Hash of a written body and of how it is read; set with every key. Of all that rows are made of, it is what a
    /// retry shares with its first try: rows without a timestamp get the time of their arrival.
    pub body: Option<u128>,
}

/// Bytes of a user name that are kept.
pub const USER_BYTES_MAX: usize = 256;

/// A user name as a client gave it, made fit for lists, logs and calls.
pub fn user_name(text: &str) -> String {
    let shown = text[..text.floor_char_boundary(USER_BYTES_MAX)].chars();
    // Replaced and not left out, so that two names do not become one.
    shown.map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

impl Session {
    /// A session with defaults and a fresh request id.
    pub fn new(wire: Wire) -> Self {
        Self {
            request_id: uuid::Uuid::new_v4().to_string(),
            wire,
            database: DEFAULT_DATABASE.to_owned(),
            connection: 0,
            user: String::new(),
            time_zone: "UTC".to_owned(),
            timeout: QUERY_TIMEOUT,
            traceparent: None,
            idempotency_key: None,
            body: None,
        }
    }

    /// The same setting for the next request of a connection.
    pub fn next(&self) -> Self {
        Self { request_id: uuid::Uuid::new_v4().to_string(), ..self.clone() }
    }
}
