//! The statements of the whole cluster: this frontend's own, and by way of metasrv those of the others.
//!
//! Nothing of it is kept anywhere: a cancel that is lost is the client's to repeat.
//! A list that lacks a frontend says so in a row, which every client sees: the list
//! is asked for when something is wrong, and is not to fail because of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use varve_model::id::ProcessId;
use varve_model::id::process::{Cancel, Process};
use varve_model::{Error, Reason, Result};
use varve_proto::metasrv::{Answer, Inquiry, Question};
use varve_protocol::process::{Processes, Verdict};

use crate::cluster::Feed;

#[cfg(test)]
mod tests;

/// Cancels for other frontends that may be under way, of each kind.
const CANCELS_MAX: usize = 64;
/// The number of rows that stand for statements which a list lacks: frontends are numbered from 1, so no process has it.
pub(crate) const NOBODY: ProcessId = ProcessId(0);

/// All frontends' statements, seen from this one.
#[derive(Debug)]
pub(crate) struct Peers {
    own: Processes,
    feed: Arc<Feed>,
    /// Rooms for cancels of clients that are logged in, and for those by secret: these anybody can
    /// send, who must not keep the others out.
    by_login: Semaphore,
    by_secret: Semaphore,
}

impl Peers {
    pub(crate) fn new(own: Processes, feed: Arc<Feed>) -> Self {
        let (by_login, by_secret) = (Semaphore::new(CANCELS_MAX), Semaphore::new(CANCELS_MAX));
        Self { own, feed, by_login, by_secret }
    }

    /// What metasrv tells.
    pub(crate) fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// This frontend's connections.
    pub(crate) fn own(&self) -> &Processes {
        &self.own
    }

    /// Ends a statement or a connection, wherever it is.
    ///
    /// Errors: `NotFound/Process`; `Unavailable` when it may be on a frontend that does not answer;
    /// `Busy` for too many at once.
    pub(crate) async fn cancel(&self, cancel: Cancel) -> Result<()> {
        let process = cancel.process;
        match self.own.cancel(&cancel) {
            Verdict::Found => return Ok(()),
            Verdict::Wrong => return Err(unknown(process)),
            Verdict::Unknown => {}
        }
        let rooms = if cancel.secret.is_some() { &self.by_secret } else { &self.by_login };
        let _room = rooms.try_acquire().map_err(|_| Error::busy("too many cancels at once"))?;
        let said = self.feed.ask(Inquiry::Cancel(cancel)).await?;
        if said.answers.contains(&Answer::Cancelled(true)) {
            return Ok(());
        }
        if !said.silent.is_empty() {
            let text = format!("{} frontends did not say whether they have thread {process}", said.silent.len());
            return Err(Error::unavailable(text).with_hint("try again"));
        }
        Err(unknown(process))
    }

    /// What runs on all frontends, this one's first. For each that does not answer a row of the number [`NOBODY`].
    pub(crate) async fn list(&self) -> Vec<Process> {
        let mut all = self.own.list();
        let said = match self.feed.ask(Inquiry::Processes).await {
            Ok(said) => said,
            Err(error) => {
                tracing::warn!(%error, "the process list lacks all other frontends");
                all.push(lacking("others", format!("the statements of other frontends are not shown: {error}")));
                return all;
            }
        };
        for answer in said.answers {
            if let Answer::Processes(processes) = answer {
                all.extend(processes);
            }
        }
        if !said.silent.is_empty() {
            tracing::warn!(frontends = ?said.silent, "the process list lacks frontends that do not answer");
        }
        for frontend in said.silent {
            let text = format!("the statements of frontend {frontend} are not shown: it does not answer");
            all.push(lacking(format!("number {frontend}"), text));
        }
        all
    }

    /// Answers what other frontends ask, until the token is cancelled.
    pub(crate) async fn answer(self: Arc<Self>, mut questions: mpsc::Receiver<Question>, token: CancellationToken) {
        loop {
            let question = tokio::select! {
                Some(question) = questions.recv() => question,
                () = token.cancelled() => return,
            };
            let answer = match &*question.inquiry {
                Inquiry::Cancel(cancel) => Answer::Cancelled(self.own.cancel(cancel) == Verdict::Found),
                Inquiry::Processes => Answer::Processes(self.own.list()),
            };
            if let Err(error) = self.feed.answer(question.id, answer).await {
                // Who asked is told that this frontend did not answer.
                tracing::debug!(%error, "an answer to another frontend is lost");
            }
        }
    }
}

/// Also for a wrong secret: who does not know it learns nothing.
fn unknown(process: ProcessId) -> Error {
    let text = format!("Unknown thread id: {process}");
    Error::not_found(text).with_reason(Reason::Process).with_hint("SHOW PROCESSLIST shows what runs")
}

/// Stands in a list for statements that it lacks. The text is in angle brackets, as PostgreSQL marks what is no query.
fn lacking(frontend: impl Into<String>, why: String) -> Process {
    Process {
        id: NOBODY,
        frontend: frontend.into(),
        client: String::new(),
        user: String::new(),
        database: String::new(),
        query: format!("<{why}>"),
        started_ms: 0,
        elapsed: Duration::ZERO,
    }
}
