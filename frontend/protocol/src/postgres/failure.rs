//! Errors on the PostgreSQL wire: SQLSTATE, text, hint.

use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::response::ErrorResponse;
use varve_model::{Error, ErrorKind, Reason};

use crate::process::Ended;

/// Why a message, a statement or the connection failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// SQLSTATE.
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) hint: Option<Box<str>>,
    /// The connection ends.
    pub(super) fatal: bool,
}

/// What ends the handling of a message early.
#[derive(Debug)]
pub(super) enum Halt {
    /// The client is told.
    Failure(Failure),
    /// There is nobody to tell.
    Gone,
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failure(Failure::of(&error))
    }
}

impl From<Ended> for Halt {
    fn from(ended: Ended) -> Self {
        let error = match ended {
            Ended::Gone => return Self::Gone,
            Ended::Cancelled => {
                Error::invalid("canceling statement due to user request").with_reason(Reason::Cancelled)
            }
            Ended::Late(timeout) => {
                let text = format!("canceling statement due to statement timeout of {} s", timeout.as_secs());
                Error::new(ErrorKind::Timeout, text)
            }
        };
        error.into()
    }
}

impl From<std::io::Error> for Halt {
    fn from(_: std::io::Error) -> Self {
        Self::Gone
    }
}

impl Failure {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, fatal: false }
    }

    /// A failure that ends the connection.
    pub(super) fn fatal(code: &'static str, message: impl Into<String>) -> Self {
        Self { fatal: true, ..Self::new(code, message) }
    }

    /// A message that breaks the protocol.
    pub(super) fn protocol(message: impl Into<String>) -> Self {
        Self::new("08P01", message)
    }

    /// The failure an error becomes; the error's travel ends here.
    pub(super) fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Internal | ErrorKind::Corrupt => tracing::error!(?error, "statement failed"),
            _ => tracing::debug!(%error, "statement refused"),
        }
        let code = code(error.kind(), error.reason());
        Self { hint: error.hint().map(Into::into), ..Self::new(code, error.message()) }
    }

    /// The message that tells the client.
    pub(super) fn response(&self) -> PgWireBackendMessage {
        let severity = if self.fatal { "FATAL" } else { "ERROR" };
        let mut fields = vec![
            (b'S', severity.to_owned()),
            (b'V', severity.to_owned()),
            (b'C', self.code.to_owned()),
            // A NUL would end the field and spoil the message.
            (b'M', self.message.replace('\0', "\u{fffd}")),
        ];
        if let Some(hint) = &self.hint {
            fields.push((b'H', hint.replace('\0', "\u{fffd}")));
        }
        PgWireBackendMessage::ErrorResponse(ErrorResponse::new(fields))
    }
}

/// The SQLSTATE of an error.
pub(super) fn code(kind: ErrorKind, reason: Reason) -> &'static str {
    match (kind, reason) {
        (_, Reason::Cancelled) => "57014",
        (ErrorKind::InvalidRequest, reason) => match reason {
            Reason::Syntax => "42601",
            Reason::Plan => "42000",
            Reason::BadValue | Reason::KeyReused => "22023",
            Reason::Unsupported => "0A000",
            Reason::TypeConflict => "42804",
            Reason::Database => "3D000",
            Reason::Table => "42P01",
            Reason::Column => "42703",
            Reason::TooLarge | Reason::Cost | Reason::Cardinality => "54000",
            _ => "22000",
        },
        (ErrorKind::NotFound, Reason::Database) => "3D000",
        (ErrorKind::NotFound, Reason::Column) => "42703",
        (ErrorKind::NotFound, Reason::Process) => "42704",
        (ErrorKind::NotFound, _) => "42P01",
        (ErrorKind::AlreadyExists, Reason::Database) => "42P04",
        (ErrorKind::AlreadyExists, Reason::Column) => "42701",
        (ErrorKind::AlreadyExists, _) => "42P07",
        (ErrorKind::Unauthenticated, _) => "28P01",
        (ErrorKind::PermissionDenied, _) => "42501",
        (ErrorKind::Busy, Reason::Rate) => "53400",
        (ErrorKind::Busy, _) => "53000",
        (ErrorKind::Unavailable, Reason::DiskFull) => "53100",
        (ErrorKind::Unavailable | ErrorKind::Fenced, _) => "57P03",
        (ErrorKind::StaleRoute, _) => "40001",
        (ErrorKind::Timeout, _) => "57014",
        (ErrorKind::Corrupt, _) => "XX001",
        (ErrorKind::Internal, _) => "XX000",
    }
}
