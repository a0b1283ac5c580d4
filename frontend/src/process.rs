//! The statements of the whole cluster: this frontend's own, and by way of metasrv those of the others.
//!
//! Nothing of it is kept anywhere: a cancel that is lost is the client's to repeat.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use varve_model::id::process::{Cancel, Process};
use varve_model::{Error, Reason, Result};
use varve_proto::metasrv::{Answer, Inquiry, Question};
use varve_protocol::process::Processes;

use crate::cluster::Feed;

#[cfg(test)]
mod tests;

/// Cancels for other frontends that may be under way: who cancels need not have logged in.
const CANCELS_MAX: usize = 64;

/// All frontends' statements, seen from this one.
#[derive(Debug)]
pub(crate) struct Peers {
    own: Processes,
    feed: Arc<Feed>,
    /// Where this frontend serves, in lists.
    address: String,
    cancels: Semaphore,
}

impl Peers {
    pub(crate) fn new(own: Processes, feed: Arc<Feed>, address: String) -> Self {
        Self { own, feed, address, cancels: Semaphore::new(CANCELS_MAX) }
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
        if self.own.cancel(&cancel) {
            return Ok(());
        }
        let process = cancel.process;
        let _room = self.cancels.try_acquire().map_err(|_| Error::busy("too many cancels at once"))?;
        let said = self.feed.ask(Inquiry::Cancel(cancel)).await?;
        if said.answers.contains(&Answer::Cancelled(true)) {
            return Ok(());
        }
        if !said.silent.is_empty() {
            let text = format!("{} frontends did not say whether they have thread {process}", said.silent.len());
            return Err(Error::unavailable(text).with_hint("try again"));
        }
        Err(Error::not_found(format!("Unknown thread id: {process}"))
            .with_reason(Reason::Process)
            .with_hint("SHOW PROCESSLIST shows what runs"))
    }

    /// What runs on all frontends, this one's first. Errors: metasrv is away.
    pub(crate) async fn list(&self) -> Result<Vec<Process>> {
        let mut all = self.own.list(&self.address);
        let said = self.feed.ask(Inquiry::Processes).await?;
        if !said.silent.is_empty() {
            tracing::warn!(frontends = said.silent.len(), "the process list lacks frontends that do not answer");
        }
        for answer in said.answers {
            if let Answer::Processes(processes) = answer {
                all.extend(processes);
            }
        }
        Ok(all)
    }

    /// Answers what other frontends ask, until the token is cancelled.
    pub(crate) async fn answer(self: Arc<Self>, mut questions: mpsc::Receiver<Question>, token: CancellationToken) {
        loop {
            let question = tokio::select! {
                Some(question) = questions.recv() => question,
                () = token.cancelled() => return,
            };
            let answer = match &*question.inquiry {
                Inquiry::Cancel(cancel) => Answer::Cancelled(self.own.cancel(cancel)),
                Inquiry::Processes => Answer::Processes(self.own.list(&self.address)),
            };
            if let Err(error) = self.feed.answer(question.id, answer).await {
                // Who asked is told that this frontend did not answer.
                tracing::debug!(%error, "an answer to another frontend is lost");
            }
        }
    }
}
