//! Errors on the MySQL wire: number, SQLSTATE, text.

use mysql_common::packets::{ErrPacket, ServerError, SqlState};
use varve_model::{Error, ErrorKind, Reason};

use crate::process::Ended;

/// A MySQL error number and its SQLSTATE.
pub(super) type Code = (u16, &'static str);

pub(super) const TOO_MANY_CONNECTIONS: Code = (1040, "08004");
pub(super) const BAD_HANDSHAKE: Code = (1043, "08S01");
pub(super) const UNKNOWN_COMMAND: Code = (1047, "08S01");
pub(super) const SHUTDOWN: Code = (1053, "08S01");
pub(super) const SYNTAX: Code = (1064, "42000");
pub(super) const EMPTY_QUERY: Code = (1065, "42000");
pub(super) const TOO_MANY_FIELDS: Code = (1117, "HY000");
pub(super) const PACKET_TOO_LARGE: Code = (1153, "08S01");
pub(super) const PACKETS_OUT_OF_ORDER: Code = (1156, "08S01");
pub(super) const WRONG_ARGUMENTS: Code = (1210, "HY000");
pub(super) const UNKNOWN_STATEMENT: Code = (1243, "HY000");
pub(super) const BAD_TEXT: Code = (1300, "HY000");
pub(super) const NO_CURSOR: Code = (1421, "HY000");
pub(super) const TOO_MANY_STATEMENTS: Code = (1461, "42000");
pub(super) const MALFORMED: Code = (1835, "HY000");
pub(super) const KILLED: Code = (3169, "HY000");

/// Why a command, a statement or the connection failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: Code,
    pub(super) message: String,
    /// The connection ends.
    pub(super) fatal: bool,
}

/// What ends the handling of a command early.
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
            Ended::Cancelled => Error::invalid("Query execution was interrupted").with_reason(Reason::Cancelled),
            Ended::Late(timeout) => {
                let text = format!(
                    "Query execution was interrupted, maximum statement execution time of {} s exceeded",
                    timeout.as_secs()
                );
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
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), fatal: false }
    }

    /// A failure that ends the connection.
    pub(super) fn fatal(code: Code, message: impl Into<String>) -> Self {
        Self { fatal: true, ..Self::new(code, message) }
    }

    /// A packet that breaks the protocol.
    pub(super) fn malformed() -> Self {
        Self::new(MALFORMED, "Malformed communication packet")
    }

    /// The failure an error becomes; the error's travel ends here.
    pub(super) fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Internal | ErrorKind::Corrupt => tracing::error!(?error, "statement failed"),
            _ => tracing::debug!(%error, "statement refused"),
        }
        // The packet has one text only.
        let message = match error.hint() {
            Some(hint) => format!("{} ({hint})", error.message()),
            None => error.message().to_owned(),
        };
        Self::new(code(error.kind(), error.reason()), message)
    }

    /// The packet that tells the client.
    pub(super) fn packet(&self) -> ErrPacket<'_> {
        let (number, state) = self.code;
        let state = state.as_bytes().try_into().ok().map(SqlState::new);
        ErrPacket::Error(ServerError::new(number, state, self.message.as_bytes()))
    }
}

/// Number and SQLSTATE of an error.
pub(super) fn code(kind: ErrorKind, reason: Reason) -> Code {
    match (kind, reason) {
        (_, Reason::Cancelled) => (1317, "70100"),
        (ErrorKind::InvalidRequest, reason) => match reason {
            Reason::Syntax | Reason::Plan => SYNTAX,
            Reason::BadValue | Reason::TypeConflict => (1366, "HY000"),
            Reason::Unsupported => (1235, "42000"),
            Reason::Database => (1049, "42000"),
            Reason::Table => (1146, "42S02"),
            Reason::Column => (1054, "42S22"),
            // Not 08S01: drivers take class 08 for a lost connection, and this one lives on.
            Reason::TooLarge => (1153, "HY000"),
            Reason::Cost => (1104, "42000"),
            Reason::Cardinality => (1114, "HY000"),
            _ => WRONG_ARGUMENTS,
        },
        (ErrorKind::NotFound, Reason::Database) => (1049, "42000"),
        (ErrorKind::NotFound, Reason::Column) => (1054, "42S22"),
        (ErrorKind::NotFound, Reason::Process) => (1094, "HY000"),
        (ErrorKind::NotFound, _) => (1146, "42S02"),
        (ErrorKind::AlreadyExists, Reason::Database) => (1007, "HY000"),
        (ErrorKind::AlreadyExists, Reason::Column) => (1060, "42S21"),
        (ErrorKind::AlreadyExists, _) => (1050, "42S01"),
        (ErrorKind::Unauthenticated, _) => (1045, "28000"),
        (ErrorKind::PermissionDenied, Reason::Database) => (1044, "42000"),
        (ErrorKind::PermissionDenied, _) => (1142, "42000"),
        (ErrorKind::Busy, Reason::Rate) => (1226, "42000"),
        (ErrorKind::Busy, _) => (1041, "HY000"),
        (ErrorKind::Unavailable, Reason::DiskFull) => (1021, "HY000"),
        (ErrorKind::Unavailable | ErrorKind::Fenced, _) => (1205, "HY000"),
        (ErrorKind::StaleRoute, _) => (1213, "40001"),
        (ErrorKind::Timeout, _) => (3024, "HY000"),
        (ErrorKind::Corrupt, _) => (1194, "HY000"),
        (ErrorKind::Internal, _) => (1105, "HY000"),
    }
}
