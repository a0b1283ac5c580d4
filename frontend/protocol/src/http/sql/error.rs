//! Errors of `/v1/sql`: GreptimeDB's codes and their HTTP statuses.

use std::time::Duration;

use axum::response::Response;
use http::{HeaderValue, StatusCode};
use serde_json::json;
use varve_model::{Error, ErrorKind, Reason};

use super::super::{app, reply};
use crate::process::Ended;

/// Bytes of an error's text in its header.
const ERROR_HEADER_BYTES_MAX: usize = 1024;

/// HTTP status and code of an error.
pub(super) fn code(kind: ErrorKind, reason: Reason) -> (u16, u16) {
    match (kind, reason) {
        (_, Reason::Cancelled) => (499, 1005),
        (ErrorKind::InvalidRequest, reason) => match reason {
            Reason::Syntax => (400, 2000),
            Reason::Plan | Reason::TypeConflict => (400, 3000),
            Reason::Unsupported => (400, 1001),
            Reason::Table => (400, 4001),
            Reason::Column => (400, 4002),
            Reason::Database => (400, 4004),
            Reason::TooLarge => (413, 1004),
            Reason::Cost => (422, 1004),
            _ => (400, 1004),
        },
        (ErrorKind::NotFound, Reason::Database) => (400, 4004),
        (ErrorKind::NotFound, Reason::Column) => (400, 4002),
        (ErrorKind::NotFound, Reason::Process) => (404, 1004),
        (ErrorKind::NotFound, _) => (400, 4001),
        (ErrorKind::AlreadyExists, Reason::Database) => (400, 4011),
        (ErrorKind::AlreadyExists, Reason::Column) => (400, 4003),
        (ErrorKind::AlreadyExists, _) => (400, 4000),
        (ErrorKind::Unauthenticated, _) => (401, 7002),
        (ErrorKind::PermissionDenied, _) => (403, 7006),
        (ErrorKind::Busy, Reason::Rate) => (429, 6001),
        (ErrorKind::Busy, _) => (503, 1009),
        (ErrorKind::Unavailable | ErrorKind::StaleRoute | ErrorKind::Fenced, _) => (503, 5000),
        (ErrorKind::Timeout, _) => (504, 1008),
        (ErrorKind::Corrupt | ErrorKind::Internal, _) => (500, 1003),
    }
}

/// The error of a statement that did not come to its end.
pub(super) fn of(ended: Ended) -> Error {
    match ended {
        Ended::Cancelled => Error::invalid("the statement was killed").with_reason(Reason::Cancelled),
        Ended::Gone => Error::invalid("the client has gone").with_reason(Reason::Cancelled),
        Ended::Late(timeout) => app::timed_out(timeout),
    }
}

/// The answer to a failed request; the error's travel ends here.
pub(super) fn response(error: &Error, elapsed: Duration) -> Response {
    let (status, code) = code(error.kind(), error.reason());
    if status == 500 {
        tracing::error!(?error, "SQL request failed");
    } else {
        tracing::debug!(%error, "SQL request refused");
    }
    let http_status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({"code": code, "error": error.message(), "execution_time_ms": elapsed.as_millis() as u64});
    let mut response = reply::text(http_status, "application/json", body.to_string());
    let headers = response.headers_mut();
    headers.insert("x-greptime-err-code", HeaderValue::from(code));
    headers.insert("x-greptime-err-msg", reply::header_text(error.message(), ERROR_HEADER_BYTES_MAX));
    if matches!(status, 429 | 503) {
        reply::retry_later(&mut response);
    }
    response
}
