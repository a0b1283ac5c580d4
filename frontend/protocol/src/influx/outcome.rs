//! What a write answers: the outcome table of InfluxDB's two write APIs.
//!
//! Texts matter: Telegraf searches for `database not found`, `partial write`,
//! `points beyond retention policy`, `unable to parse` and `retention policy
//! not found`, and decides by them whether it drops a batch or sends it again.

use varve_model::{Error, ErrorKind, Reason};

use super::decode::{Decoded, Fault};
use super::precision::Api;
use crate::gateway::{Refused, RefusedCause, Written};

#[cfg(test)]
mod tests;

/// An answer that is not 204.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// HTTP status.
    pub status: u16,
    /// The `code` of version 2's body.
    pub code: &'static str,
    /// The text.
    pub message: String,
    /// Whether the client shall try again.
    pub retry_later: bool,
}

/// Bytes of joined line errors in one answer.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

impl Failure {
    fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_later: false }
    }

    /// The request itself is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "invalid", message)
    }

    /// No `db` or `bucket`.
    pub fn no_database(api: Api) -> Self {
        match api {
            Api::V1 => Self::invalid("database is required"),
            Api::V2 => Self::new(404, "not found", "bucket is required"),
        }
    }

    /// The database does not exist.
    pub fn unknown_database(api: Api, name: &str) -> Self {
        match api {
            Api::V1 => Self::new(404, "not found", format!("database not found: \"{name}\"")),
            Api::V2 => Self::new(404, "not found", format!("bucket \"{name}\" not found")),
        }
    }

    /// The database exists, its retention policy does not.
    pub fn unknown_policy(name: &str) -> Self {
        Self::new(404, "not found", format!("retention policy not found: {name}"))
    }
}

/// The answer after the body was read and the good lines were stored; `None` is success.
pub fn of_write(api: Api, decoded: &Decoded, lines_stored: usize, written: &Written) -> Option<Failure> {
    let unparsable = unparsable_lines(decoded);
    let dropped = decoded.dropped + written.refused.len();
    if dropped == 0 {
        let unparsable = unparsable?;
        let nothing = lines_stored == 0;
        let text = if nothing { unparsable } else { format!("partial write: {unparsable} dropped=0") };
        return Some(Failure::invalid(text));
    }
    let reasons = unparsable.into_iter().chain(drop_reasons(decoded, &written.refused)).collect::<Vec<_>>();
    let text = format!("partial write: {} dropped={dropped}", reasons.join("\n"));
    Some(match api {
        Api::V1 => Failure::invalid(text),
        Api::V2 => Failure::new(422, "unprocessable entity", format!("failure writing points to database: {text}")),
    })
}

/// The lines that do not parse, each with its reason, joined by LF.
fn unparsable_lines(decoded: &Decoded) -> Option<String> {
    let mut text = String::new();
    let mut left_out = decoded.errors_more;
    for error in decoded.errors.iter().filter(|error| error.fault == Fault::Unparsable) {
        if text.len() > MESSAGE_BYTES_MAX {
            left_out += 1;
            continue;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str("unable to parse '");
        text.push_str(&error.text);
        text.push_str("': ");
        text.push_str(&error.reason);
    }
    if left_out > 0 && !text.is_empty() {
        text.extend(["\nand ", &left_out.to_string(), " more lines"]);
    }
    (!text.is_empty()).then_some(text)
}

/// The first reason of each sort for which points were dropped: InfluxDB names one and counts the rest.
fn drop_reasons(decoded: &Decoded, refused: &[Refused]) -> impl Iterator<Item = String> {
    let expired = refused.iter().find(|row| row.cause == RefusedCause::Expired);
    let by_line = decoded.errors.iter().find(|error| error.fault == Fault::Dropped);
    let by_row = refused.iter().find(|row| row.cause != RefusedCause::Expired);
    let first = match (by_line, by_row) {
        (Some(line), Some(row)) if line.line - 1 > row.origin => Some(cause_text(&row.cause)),
        (Some(line), _) => Some(line.reason.to_string()),
        (None, Some(row)) => Some(cause_text(&row.cause)),
        (None, None) => None,
    };
    first.into_iter().chain(expired.map(|row| cause_text(&row.cause)))
}

fn cause_text(cause: &RefusedCause) -> String {
    match cause {
        RefusedCause::FieldType { table, field, input, existing } => format!(
            "field type conflict: input field \"{field}\" on measurement \"{table}\" is type {}, already exists as type {}",
            input.influx_name(),
            existing.influx_name()
        ),
        RefusedCause::Role { table, column, existing, input } => format!(
            "column role conflict: input {input} \"{column}\" on measurement \"{table}\" already exists as {existing}"
        ),
        RefusedCause::Expired => "points beyond retention policy".to_owned(),
        RefusedCause::Rule(text) => text.clone(),
    }
}

/// The answer when the write failed as a whole. A missing database is [`Failure::unknown_database`]'s.
pub fn of_error(api: Api, error: &Error) -> Failure {
    let message = error.message();
    let plain = |status, code| Failure::new(status, code, message);
    let later = |status, code| Failure { retry_later: true, ..Failure::new(status, code, message) };
    match (error.kind(), error.reason()) {
        (_, Reason::Cancelled) => plain(499, "canceled"),
        (_, Reason::TooLarge) => match api {
            Api::V1 => Failure::new(413, "request too large", "Request Entity Too Large"),
            Api::V2 => plain(413, "request too large"),
        },
        (ErrorKind::InvalidRequest, Reason::Cardinality | Reason::Cost) => match api {
            Api::V1 => plain(400, "invalid"),
            Api::V2 => plain(422, "unprocessable entity"),
        },
        (ErrorKind::InvalidRequest, _) => plain(400, "invalid"),
        (ErrorKind::NotFound, _) => plain(404, "not found"),
        (ErrorKind::AlreadyExists, _) => plain(409, "conflict"),
        (ErrorKind::Unauthenticated, _) => match api {
            Api::V1 => Failure::new(401, "unauthorized", "authorization failed"),
            Api::V2 => Failure::new(401, "unauthorized", "unauthorized access"),
        },
        (ErrorKind::PermissionDenied, _) => plain(403, "forbidden"),
        // Never 429 on version 1: Telegraf drops the batch on any 4xx.
        (ErrorKind::Busy, Reason::Rate) if api == Api::V2 => later(429, "too many requests"),
        (ErrorKind::Busy | ErrorKind::Unavailable | ErrorKind::StaleRoute | ErrorKind::Fenced, _) => {
            later(503, "unavailable")
        }
        (ErrorKind::Timeout, _) => later(503, "unavailable"),
        (ErrorKind::Corrupt | ErrorKind::Internal, _) => plain(500, "internal error"),
    }
}
