//! Passes on what frontends ask each other, on the watches that they opened.
//!
//! All of it is in memory and ends with the term: a lost question is the
//! asker's to repeat. A frontend draws its number itself, and draws it at random,
//! so that after a change of leader those who come back rarely find theirs taken.
//! Until they had the time to come back, one that is not there may live: what it
//! would say to a cancel is unknown, which is not the same as no.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use varve_model::id::FrontendId;
use varve_model::{Error, Result};
use varve_proto::metasrv::{ABSENCE_MAX, Answer, Answers, Change, Inquiry, Messages, News, Question, Watcher};
use varve_service::clock::SharedClock;

#[cfg(test)]
mod tests;

/// Questions that may wait for a frontend's watch.
const QUESTIONS_QUEUE_MAX: usize = 64;
/// How long the asker waits at most: a cancel works within a second or is asked again.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Frontends that watch, and questions that wait for answers.
#[derive(Debug)]
pub(crate) struct Relay {
    state: Mutex<State>,
    clock: SharedClock,
    /// When the term began, which leaves all seats.
    began: Duration,
}

#[derive(Debug)]
struct State {
    seats: BTreeMap<FrontendId, Seat>,
    /// When a seat was left in this term; as many as there are numbers.
    left: BTreeMap<FrontendId, Duration>,
    /// Counts streams, so that the end of an old one does not take a new one's seat.
    streams: u64,
    /// Starts at random: an answer to an earlier leader's question meets none of this one's.
    next_question: u64,
    waiting: BTreeMap<u64, mpsc::Sender<(FrontendId, Answer)>>,
}

#[derive(Debug)]
struct Seat {
    life: u128,
    stream: u64,
    questions: mpsc::Sender<Arc<News>>,
}

/// A frontend's place while its watch lives.
struct Seated {
    relay: Arc<Relay>,
    frontend: FrontendId,
    stream: u64,
}

impl Drop for Seated {
    fn drop(&mut self) {
        let mut state = self.relay.state.lock();
        if state.seats.get(&self.frontend).is_some_and(|seat| seat.stream == self.stream) {
            state.seats.remove(&self.frontend);
            state.left.insert(self.frontend, self.relay.clock.boot());
        }
    }
}

/// A question that is not waited for any more leaves nothing behind.
struct Waiting<'r> {
    relay: &'r Relay,
    question: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.relay.state.lock().waiting.remove(&self.question);
    }
}

impl Relay {
    pub(crate) fn new(clock: SharedClock) -> Arc<Self> {
        let next_question = clock.random() as u64 >> 1;
        let state = State {
            seats: BTreeMap::new(),
            left: BTreeMap::new(),
            streams: 0,
            next_question,
            waiting: BTreeMap::new(),
        };
        let began = clock.boot();
        Arc::new(Self { state: Mutex::new(state), clock, began })
    }

    /// The frontend's news: its number, then the catalog's as they come, and questions between them.
    /// It ends with the catalog's, or when the frontend opens another watch. Errors: `Busy`.
    pub(crate) fn watch(
        self: &Arc<Self>,
        watcher: Watcher,
        news: Messages<Result<Arc<News>>>,
    ) -> Result<Messages<Result<Arc<News>>>> {
        let (questions, asked) = mpsc::channel(QUESTIONS_QUEUE_MAX);
        let seated = self.seat(watcher, questions)?;
        let first = Arc::new(News { revision: 0, change: Change::Seated(seated.frontend) });
        let both = futures::stream::unfold(Some((seated, news, asked)), |state| async move {
            let (seated, mut news, mut asked) = state?;
            tokio::select! {
                one = news.next() => match one? {
                    Ok(one) => Some((Ok(one), Some((seated, news, asked)))),
                    Err(error) => Some((Err(error), None)),
                },
                question = asked.recv() => match question {
                    Some(question) => Some((Ok(question), Some((seated, news, asked)))),
                    None => Some((Err(Error::unavailable("this frontend has opened another watch")), None)),
                },
            }
        });
        Ok(Box::pin(futures::stream::iter([Ok(first)]).chain(both)))
    }

    fn seat(self: &Arc<Self>, watcher: Watcher, questions: mpsc::Sender<Arc<News>>) -> Result<Seated> {
        let mut state = self.state.lock();
        let taken = |id: u32| state.seats.get(&FrontendId(id)).is_some_and(|seat| seat.life != watcher.life);
        let wish = watcher.wish.0.clamp(1, FrontendId::MAX);
        let free = (wish..=FrontendId::MAX).chain(1..wish).find(|id| !taken(*id));
        let frontend = FrontendId(free.ok_or_else(|| {
            Error::busy(format!("{} frontends are alive: there is no number for another one", FrontendId::MAX))
        })?);
        state.streams += 1;
        let stream = state.streams;
        state.seats.insert(frontend, Seat { life: watcher.life, stream, questions });
        Ok(Seated { relay: Arc::clone(self), frontend, stream })
    }

    /// Asks all frontends but one. See [`varve_proto::metasrv::MetasrvApi::ask`].
    pub(crate) async fn ask(&self, from: FrontendId, inquiry: Inquiry, timeout: Duration) -> Answers {
        let owner = match &inquiry {
            Inquiry::Cancel(cancel) => Some(cancel.process.frontend()),
            Inquiry::Processes => None,
        };
        let mut absent = owner.filter(|owner| *owner != from && self.may_come_back(*owner));
        let (waiting, mut said, mut silent) = self.send(from, inquiry);
        let over = self.clock.sleep(timeout.min(WAIT_MAX));
        tokio::pin!(over);
        let mut answers = Vec::new();
        while !silent.is_empty() {
            let (frontend, answer) = tokio::select! {
                Some(answer) = said.recv() => answer,
                () = &mut over => break,
            };
            silent.remove(&frontend);
            // A connection is on one frontend.
            let is_enough = owner.is_some() && answer == Answer::Cancelled(true);
            answers.push(answer);
            if is_enough {
                silent.clear();
                absent = None;
            }
        }
        drop(waiting);
        silent.extend(absent);
        Answers { answers, silent: silent.into_iter().collect() }
    }

    /// Whether a frontend that is not here may live.
    fn may_come_back(&self, frontend: FrontendId) -> bool {
        let state = self.state.lock();
        let since = state.left.get(&frontend).copied().unwrap_or(self.began);
        let is_number = (1..=FrontendId::MAX).contains(&frontend.0);
        is_number && !state.seats.contains_key(&frontend) && self.clock.boot() < since + ABSENCE_MAX
    }

    /// Puts the question on every other watch; who was asked, and where their answers come.
    fn send(
        &self,
        from: FrontendId,
        inquiry: Inquiry,
    ) -> (Waiting<'_>, mpsc::Receiver<(FrontendId, Answer)>, BTreeSet<FrontendId>) {
        let mut state = self.state.lock();
        let id = state.next_question;
        state.next_question += 1;
        let question = Question { id, inquiry: Arc::new(inquiry) };
        let news = Arc::new(News { revision: 0, change: Change::Asked(question) });
        let others = state.seats.iter().filter(|(frontend, _)| **frontend != from);
        let asked = others.map(|(frontend, seat)| {
            // A watch that is behind: its frontend counts as silent.
            let _ = seat.questions.try_send(Arc::clone(&news));
            *frontend
        });
        let asked = asked.collect::<BTreeSet<_>>();
        let (answers, said) = mpsc::channel(asked.len().max(1));
        state.waiting.insert(id, answers);
        drop(state);
        (Waiting { relay: self, question: id }, said, asked)
    }

    /// Brings an answer to who asked, if they still wait.
    pub(crate) fn answer(&self, from: FrontendId, question: u64, answer: Answer) {
        if let Some(waiting) = self.state.lock().waiting.get(&question) {
            // One answer per frontend fits; more are nobody's.
            let _ = waiting.try_send((from, answer));
        }
    }
}
