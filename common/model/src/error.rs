//! The one error type that crosses rooms and wires.
//!
//! Twelve kinds say what the caller must do; a reason narrows the kind where a
//! wire needs a finer code (413 against 400). Each protocol maps both once.

use std::error::Error as StdError;
use std::fmt;

/// What went wrong, seen from the caller: each kind documents the caller's next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is malformed or asks for something unsupported: change it.
    InvalidRequest,
    /// The named object does not exist: create it or correct the name.
    NotFound,
    /// The object exists already: choose another name or go on.
    AlreadyExists,
    /// No or bad credentials: log in.
    Unauthenticated,
    /// The user may not do this: ask for the privilege.
    PermissionDenied,
    /// The caller's view of a region is outdated: refresh the route and resend.
    StaleRoute,
    /// A newer owner exists: stop owning the region. Never leaves the cluster.
    Fenced,
    /// A limit of rate, memory or queue was met: wait and retry.
    Busy,
    /// Something needed is away or moving: retry. The outcome may be unknown.
    Unavailable,
    /// The deadline passed: retry with more time. The outcome may be unknown.
    Timeout,
    /// Stored bytes are damaged: an operator must look.
    Corrupt,
    /// A bug in varve: report it.
    Internal,
}

/// Whether the same request can succeed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same request fails again.
    Never,
    /// The same request may succeed after a pause.
    Later,
    /// The same request may succeed at once after a refresh of routes.
    Refresh,
}

impl ErrorKind {
    /// Whether a caller may send the same request again.
    pub fn retry(self) -> Retry {
        match self {
            Self::StaleRoute => Retry::Refresh,
            Self::Busy | Self::Unavailable | Self::Timeout | Self::Fenced => Retry::Later,
            Self::InvalidRequest
            | Self::NotFound
            | Self::AlreadyExists
            | Self::Unauthenticated
            | Self::PermissionDenied
            | Self::Corrupt
            | Self::Internal => Retry::Never,
        }
    }
}

/// The finer cause, for wires whose codes are finer than [`ErrorKind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Nothing beyond the kind.
    General,
    /// The text does not parse.
    Syntax,
    /// The text parses but has no valid plan.
    Plan,
    /// A literal or parameter has a bad value.
    BadValue,
    /// The request is valid elsewhere but varve does not offer it.
    Unsupported,
    /// A column is not of the given type.
    TypeConflict,
    /// A database is concerned.
    Database,
    /// A table is concerned.
    Table,
    /// A column is concerned.
    Column,
    /// A client's connection or its statement is concerned.
    Process,
    /// A body, line or statement exceeds its size limit.
    TooLarge,
    /// A tenant's rate limit.
    Rate,
    /// The node's memory, queue or concurrency is used up.
    Overload,
    /// The client or an operator cancelled.
    Cancelled,
    /// The query would cost more than allowed.
    Cost,
    /// Too many series.
    Cardinality,
    /// No space is left on the local disk.
    DiskFull,
    /// An idempotency key was used again with another body.
    KeyReused,
    /// Another metasrv leads: nothing was done, ask that one.
    NotLeader,
    /// No connection could be made: the request was never sent.
    Unreachable,
}

/// The crossing error: boxed, so that `Result` stays small.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    reason: Reason,
    message: String,
    /// What we were doing, innermost first.
    context: Vec<String>,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The result type of everything that can cross a room.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A new error with a user-readable primary text.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            reason: Reason::General,
            message: message.into(),
            context: Vec::new(),
            hint: None,
            source: None,
        }))
    }

    /// The request is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidRequest, message)
    }

    /// The request is understood and not offered.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::invalid(message).with_reason(Reason::Unsupported)
    }

    /// Something named does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// Stored bytes are damaged.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// Something needed is away; the caller may retry.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// A limit of memory, queue or rate was met.
    pub fn busy(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Busy, message).with_reason(Reason::Overload)
    }

    /// A bug in varve.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Sets the finer cause.
    pub fn with_reason(mut self, reason: Reason) -> Self {
        self.0.reason = reason;
        self
    }

    /// Sets advice for the user.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Keeps the causing error for logs.
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Adds what we were doing when the error passed.
    pub fn context(mut self, doing: impl Into<String>) -> Self {
        self.0.context.push(doing.into());
        self
    }

    /// A copy for another waiter; the causing error stays with the original.
    pub fn copy(&self) -> Self {
        let inner = &self.0;
        Self(Box::new(Inner {
            kind: inner.kind,
            reason: inner.reason,
            message: inner.message.clone(),
            context: inner.context.clone(),
            hint: inner.hint.clone(),
            source: None,
        }))
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The finer cause.
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// The primary text for the user, without context.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Advice for the user.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// What we were doing, outermost first.
    pub fn contexts(&self) -> impl Iterator<Item = &str> {
        self.0.context.iter().rev().map(String::as_str)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for doing in self.contexts() {
            write!(f, "{doing}: ")?;
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{:?}: {self}", self.0.kind, self.0.reason)?;
        if let Some(source) = &self.0.source {
            write!(f, " (caused by: {source})")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|s| &**s as &(dyn StdError + 'static))
    }
}

/// Adds context to a result in passing.
pub trait ResultExt<T> {
    /// Adds what we were doing; evaluated only on error.
    fn context<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T>;
}

impl<T> ResultExt<T> for Result<T> {
    fn context<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.context(doing()))
    }
}
