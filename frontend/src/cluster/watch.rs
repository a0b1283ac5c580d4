//! Keeps the view current: one watch on metasrv, opened again whenever it ends.
//!
//! The same watch brings this frontend's number, and what other frontends ask.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use parking_lot::RwLock;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use varve_model::{Error, Result};
use varve_proto::call::Call;
use varve_proto::metasrv::{
    Answer, Answers, Change, Inquiry, MetasrvApi, News, Procedure, Question, RegionReport, WATCH_PAUSE_MAX, Watcher,
};
use varve_protocol::process::Processes;
use varve_service::clock::SharedClock;

use super::view::View;

#[cfg(test)]
mod tests;

/// The pause before a watch that brought news is opened again; doubled for each one that brought none.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The watch is open for as long as the frontend lives.
const WATCH_TIMEOUT: Duration = Duration::from_hours(365 * 24);

/// How long asking for statistics may take.
const STATISTICS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long asking the other frontends may take: metasrv waits for them for a second.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);
/// Questions of other frontends that may wait for this one.
const QUESTIONS_QUEUE_MAX: usize = 64;

/// The current view and who waits for the next.
#[derive(Debug)]
pub(crate) struct Feed {
    metasrv: Arc<dyn MetasrvApi>,
    clock: SharedClock,
    view: RwLock<Arc<View>>,
    /// The view's revision; `None` before the first snapshot.
    revision: watch::Sender<Option<u64>>,
    /// Names this process to metasrv.
    life: u128,
    /// They carry the number that metasrv gives.
    processes: Processes,
    questions: mpsc::Sender<Question>,
}

impl Feed {
    /// A feed that knows nothing yet, and where other frontends' questions come out.
    pub(crate) fn new(
        metasrv: Arc<dyn MetasrvApi>,
        clock: SharedClock,
        processes: Processes,
    ) -> (Self, mpsc::Receiver<Question>) {
        let (questions, asked) = mpsc::channel(QUESTIONS_QUEUE_MAX);
        let (view, revision, life) = (RwLock::default(), watch::Sender::new(None), clock.random());
        (Self { metasrv, clock, view, revision, life, processes, questions }, asked)
    }

    /// Follows metasrv until the token is cancelled.
    pub(crate) async fn follow(self: Arc<Self>, token: CancellationToken) {
        let mut pause = PAUSE_MIN;
        loop {
            let (has_news, error) = tokio::select! {
                () = token.cancelled() => return,
                ended = self.follow_once() => ended,
            };
            tracing::warn!(%error, "watch on metasrv ended, opening it again");
            // However a watch ends, one that brought news makes up for all that brought none.
            if has_news {
                pause = PAUSE_MIN;
            }
            tokio::select! {
                () = token.cancelled() => return,
                () = self.clock.sleep(pause) => pause = (pause * 2).min(WATCH_PAUSE_MAX),
            }
        }
    }

    /// One watch to its end: whether it brought news, and why it ended.
    async fn follow_once(&self) -> (bool, Error) {
        let call = Call::system(format!("watch-{:016x}", self.clock.random() as u64), WATCH_TIMEOUT);
        let watcher = Watcher { life: self.life, wish: self.processes.frontend() };
        let mut messages = match self.metasrv.watch(&call, Some(watcher)).await {
            Ok(messages) => messages,
            Err(error) => return (false, error),
        };
        let mut has_news = false;
        loop {
            match messages.next().await {
                Some(Ok(news)) => has_news |= self.take(&news),
                Some(Err(error)) => return (has_news, error),
                None => return (has_news, Error::unavailable("metasrv closed the watch")),
            }
        }
    }

    /// Takes what the watch brings. Whether it is news of the catalog, not a word to this frontend.
    fn take(&self, news: &News) -> bool {
        match &news.change {
            Change::Seated(frontend) => self.processes.renumber(*frontend),
            Change::Asked(question) => {
                if self.questions.try_send(question.clone()).is_err() {
                    // Who asked is told that this frontend did not answer.
                    tracing::debug!("a question of another frontend is dropped: too many wait");
                }
            }
            _ => {
                let next = self.view.read().after(news);
                let revision = next.revision;
                *self.view.write() = Arc::new(next);
                self.revision.send_replace(Some(revision));
                return true;
            }
        }
        false
    }

    /// The current view.
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read())
    }

    /// Whether the first snapshot is in.
    pub(crate) fn is_ready(&self) -> bool {
        self.revision.borrow().is_some()
    }

    /// Waits for the first snapshot.
    pub(crate) async fn ready(&self) {
        // The sender lives in self, so waiting ends only by a snapshot.
        drop(self.revision.subscribe().wait_for(Option::is_some).await);
    }

    /// A view that has this revision. Errors: `Timeout`.
    pub(crate) async fn reach(&self, revision: u64, timeout: Duration) -> Result<Arc<View>> {
        let mut seen = self.revision.subscribe();
        tokio::select! {
            _ = seen.wait_for(|at| at.is_some_and(|at| at >= revision)) => Ok(self.view()),
            () = self.clock.sleep(timeout) => Err(Error::new(
                varve_model::ErrorKind::Timeout,
                format!("the catalog did not reach revision {revision} in time; the change itself is done"),
            )),
        }
    }

    /// A view newer than this revision, or the current one after `patience`.
    pub(crate) async fn newer_than(&self, revision: u64, patience: Duration) -> Arc<View> {
        let mut seen = self.revision.subscribe();
        tokio::select! {
            _ = seen.wait_for(|at| at.is_some_and(|at| at > revision)) => {}
            () = self.clock.sleep(patience) => {}
        }
        self.view()
    }

    /// What datanodes last reported of their regions.
    pub(crate) async fn region_statistics(&self) -> Result<Vec<RegionReport>> {
        let call = Call::system(format!("statistics-{:016x}", self.clock.random() as u64), STATISTICS_TIMEOUT);
        self.metasrv.region_statistics(&call, None).await
    }

    /// Asks all other frontends.
    pub(crate) async fn ask(&self, inquiry: Inquiry) -> Result<Answers> {
        let call = Call::system(format!("ask-{:016x}", self.clock.random() as u64), ASK_TIMEOUT);
        self.metasrv.ask(&call, self.processes.frontend(), inquiry).await
    }

    /// Answers what another frontend asked.
    pub(crate) async fn answer(&self, question: u64, answer: Answer) -> Result<()> {
        let call = Call::system(format!("answer-{question:016x}"), ASK_TIMEOUT);
        self.metasrv.answer(&call, self.processes.frontend(), question, answer).await
    }

    /// Carries out a change and waits until the view shows it.
    pub(crate) async fn execute(&self, call: &Call, procedure: Procedure) -> Result<bool> {
        let outcome = self.metasrv.execute(call, procedure).await?;
        self.reach(outcome.revision, call.timeout).await?;
        Ok(outcome.changed)
    }
}
