//! `varve_model::Error` <-> `tonic::Status`, and nowhere else.
//!
//! The details of a status carry the whole error, so that the kind that a
//! datanode raised is the kind that the client's protocol maps. Texts are cut to
//! what HTTP/2 headers take.

use prost::Message;
use tonic::{Code, ConnectError, Status};
use varve_model::{Error, ErrorKind, Reason};

use crate::wire;

#[cfg(test)]
mod tests;

/// Bytes of all texts of an error on the wire: a header list may have 16 KiB, base64 takes a third.
const TEXT_BYTES_MAX: usize = 8 << 10;
/// Bytes of the plain message beside the details, for tools that read no details.
const PLAIN_BYTES_MAX: usize = 256;

const KINDS: [(ErrorKind, Code); 12] = [
    (ErrorKind::InvalidRequest, Code::InvalidArgument),
    (ErrorKind::NotFound, Code::NotFound),
    (ErrorKind::AlreadyExists, Code::AlreadyExists),
    (ErrorKind::Unauthenticated, Code::Unauthenticated),
    (ErrorKind::PermissionDenied, Code::PermissionDenied),
    (ErrorKind::StaleRoute, Code::FailedPrecondition),
    (ErrorKind::Fenced, Code::Aborted),
    (ErrorKind::Busy, Code::ResourceExhausted),
    (ErrorKind::Unavailable, Code::Unavailable),
    (ErrorKind::Timeout, Code::DeadlineExceeded),
    (ErrorKind::Corrupt, Code::DataLoss),
    (ErrorKind::Internal, Code::Internal),
];

const REASONS: [Reason; 20] = [
    Reason::General,
    Reason::Syntax,
    Reason::Plan,
    Reason::BadValue,
    Reason::Unsupported,
    Reason::TypeConflict,
    Reason::Database,
    Reason::Table,
    Reason::Column,
    Reason::TooLarge,
    Reason::Rate,
    Reason::Overload,
    Reason::Cancelled,
    Reason::Cost,
    Reason::Cardinality,
    Reason::DiskFull,
    Reason::KeyReused,
    Reason::NotLeader,
    Reason::Unreachable,
    Reason::Process,
];

/// The status of an error.
pub fn to_status(error: &Error) -> Status {
    let code = KINDS.iter().find(|(kind, _)| *kind == error.kind()).map_or(Code::Internal, |(_, code)| *code);
    let mut plain = error.to_string();
    cut(&mut plain, PLAIN_BYTES_MAX);
    Status::with_details(code, plain, to_detail(error).encode_to_vec().into())
}

/// The error of a status. One without our details comes from the transport.
pub fn from_status(status: &Status) -> Error {
    if !status.details().is_empty()
        && let Ok(detail) = wire::ErrorDetail::decode(status.details())
    {
        return from_detail(detail);
    }
    let message = status.message().to_owned();
    if never_sent(status) {
        return Error::unavailable(format!("another node cannot be reached: {message}"))
            .with_reason(Reason::Unreachable);
    }
    match status.code() {
        Code::DeadlineExceeded => Error::new(ErrorKind::Timeout, message),
        // tonic's answer to a message above the size limit.
        Code::OutOfRange => Error::invalid(message).with_reason(Reason::TooLarge),
        Code::ResourceExhausted => Error::busy(message),
        Code::InvalidArgument => Error::invalid(message),
        Code::Unimplemented => Error::unsupported(message).with_hint("run the same version of varve on all nodes"),
        // Broken connections show as any of the others; the outcome is unknown.
        _ => Error::unavailable(format!("the connection to another node failed: {message}")),
    }
}

/// Whether no connection could be made, so that the callee knows nothing of the request.
fn never_sent(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

pub(crate) fn to_detail(error: &Error) -> wire::ErrorDetail {
    let kind = KINDS.iter().position(|(kind, _)| *kind == error.kind()).map_or(0, |at| at + 1);
    let reason = REASONS.iter().position(|reason| *reason == error.reason()).unwrap_or(0);
    let mut left = TEXT_BYTES_MAX;
    let mut bounded = |text: &str| {
        let mut text = text.to_owned();
        cut(&mut text, left);
        left -= text.len();
        text
    };
    wire::ErrorDetail {
        kind: kind as u32,
        reason: reason as u32,
        message: bounded(error.message()),
        hint: error.hint().map(&mut bounded),
        context: error.contexts().map(&mut bounded).collect(),
    }
}

pub(crate) fn from_detail(detail: wire::ErrorDetail) -> Error {
    // A kind or reason of a newer version: what is known is that something failed.
    let kind = (detail.kind as usize).checked_sub(1).and_then(|at| KINDS.get(at));
    let kind = kind.map_or(ErrorKind::Internal, |(kind, _)| *kind);
    let reason = REASONS.get(detail.reason as usize).copied().unwrap_or(Reason::General);
    let mut error = Error::new(kind, detail.message).with_reason(reason);
    if let Some(hint) = detail.hint {
        error = error.with_hint(hint);
    }
    detail.context.into_iter().rev().fold(error, Error::context)
}

/// Cuts at a character's edge.
fn cut(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
    }
}
