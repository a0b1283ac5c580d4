//! When a request ends, on the clock that counts through suspend.

use std::time::Duration;

use varve_model::{Error, ErrorKind, Result};
use varve_proto::call::{Call, PROTOCOL_VERSION, Principal};
use varve_protocol::session::Session;
use varve_service::clock::SharedClock;

/// A point in time that all parts of a request share, with what their calls carry.
#[derive(Clone, Debug)]
pub(crate) struct Deadline {
    clock: SharedClock,
    at: Duration,
    call: Call,
}

impl Deadline {
    /// The session's timeout, counted from now.
    pub(crate) fn of(session: &Session, clock: &SharedClock) -> Self {
        let call = Call {
            request_id: session.request_id.clone(),
            timeout: session.timeout,
            traceparent: session.traceparent.clone(),
            principal: Principal::User(session.user.clone()),
            protocol_version: PROTOCOL_VERSION,
        };
        Self { clock: clock.clone(), at: clock.boot() + session.timeout, call }
    }

    /// Time left; zero when over.
    pub(crate) fn left(&self) -> Duration {
        self.at.saturating_sub(self.clock.boot())
    }

    /// What a call made now carries.
    pub(crate) fn call(&self) -> Call {
        Call { timeout: self.left(), ..self.call.clone() }
    }

    /// The future's outcome, or `Timeout` when the deadline comes first.
    pub(crate) async fn bound<T>(&self, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            // The clock first: work that uses up the task's budget at every poll would leave none for it.
            biased;
            () = self.clock.sleep(self.left()) => Err(self.passed(what)),
            outcome = work => outcome,
        }
    }

    fn passed(&self, what: &str) -> Error {
        let timeout = self.call.timeout;
        Error::new(ErrorKind::Timeout, format!("{what} did not end within {}", humantime::format_duration(timeout)))
    }
}
