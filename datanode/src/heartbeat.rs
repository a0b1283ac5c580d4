//! Beats to metasrv, carries out the orders that come back, and reports them at once.
//!
//! The lease is counted from our own send of the beat that metasrv answered,
//! on the clock that counts through suspend: a late answer never lengthens it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use varve_engine::fault::bug::{self, Bug};
use varve_engine::manifest::NewerEpoch;
use varve_engine::wal::object::seal::NotSealed;
use varve_model::{Error, ErrorKind, Result};
use varve_proto::call::Call;
use varve_proto::metasrv::{Beat, BeatReply, Found, Life, MetasrvApi, Order, Report, Session, Subject};
use varve_service::clock::SharedClock;
use varve_service::task::TaskSet;

use crate::host::Host;

mod lease;
mod orders;

use lease::{Lease, Step};
use orders::Orders;

/// Beats that may wait for the stream.
const BEAT_QUEUE_MAX: usize = 16;
/// Outcomes that may wait for the loop.
const NEWS_QUEUE_MAX: usize = 256;
/// Unanswered beats that are remembered; more means the lease is long over.
const SENT_MAX: usize = 64;
/// Pause before a broken stream is opened again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);
/// How long opening the stream may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// What a beat loop needs.
#[derive(Debug)]
pub(crate) struct Heart {
    pub(crate) metasrv: Arc<dyn MetasrvApi>,
    pub(crate) session: Session,
    pub(crate) host: Arc<Host>,
    pub(crate) clock: SharedClock,
    pub(crate) tasks: TaskSet,
    /// Set once the first beat was answered and the orders that came with it are done.
    pub(crate) ready: watch::Sender<bool>,
    /// How far metasrv knows that this process has come.
    pub(crate) told: watch::Sender<Life>,
    /// Why the session is over.
    pub(crate) ended: End,
}

/// Says once why a session is over. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct End(watch::Sender<Option<String>>);

impl End {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// The session is over. The first reason counts.
    pub(crate) fn tell(&self, why: &str) {
        self.0.send_if_modified(|told| {
            let is_first = told.is_none();
            if is_first {
                *told = Some(why.to_owned());
            }
            is_first
        });
    }

    /// Resolves with the reason; never without one.
    pub(crate) async fn wait(&self) -> String {
        let mut told = self.0.subscribe();
        let why = told.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        why.expect("the sender is here and waits for a reason")
    }
}

/// A beat that was sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    number: u64,
    at: Duration,
    life: Life,
}

/// What a task of the loop has come to.
enum News {
    /// An order is carried out, or cannot be.
    Done(Subject, Report),
    /// A look at the log with this number: whether the session is known to be alive.
    Looked(u64, bool),
}

/// What outlives a broken stream.
struct State {
    orders: Orders,
    lease: Lease,
    /// For the tasks of the loop.
    news: mpsc::Sender<News>,
}

impl Heart {
    /// Beats until the task set stops, or metasrv says that the session is over.
    pub(crate) async fn beat(self) {
        let token = self.tasks.token().clone();
        let (news, mut came) = mpsc::channel(NEWS_QUEUE_MAX);
        let mut state = State { orders: Orders::default(), lease: Lease::default(), news };
        loop {
            let ended = tokio::select! {
                ended = self.stream(&mut state, &mut came) => ended,
                () = token.cancelled() => return,
            };
            if token.is_cancelled() {
                // The streams of a process that stops end in any order.
                return;
            }
            if let Err(error) = ended {
                if error.kind() == ErrorKind::Fenced {
                    // Regions keep their permits until the lease ends and then refuse: nothing to undo here.
                    // A session that said that it is sealed has ended because metasrv heard it.
                    self.told.send_replace(Life::Sealed);
                    self.ended.tell(error.message());
                    return;
                }
                tracing::warn!(%error, "heartbeat stream broke; opening it again");
            }
            state.orders.stream_broke();
            tokio::select! {
                () = self.clock.sleep(RECONNECT_PAUSE) => {}
                () = token.cancelled() => return,
            }
        }
    }

    async fn stream(&self, state: &mut State, came: &mut mpsc::Receiver<News>) -> Result<()> {
        let (beats, stream) = mpsc::channel(BEAT_QUEUE_MAX);
        let call = Call::system("heartbeat", OPEN_TIMEOUT);
        let mut replies =
            self.metasrv.heartbeat(&call, self.session.epoch, Box::pin(ReceiverStream::new(stream))).await?;
        let mut sent = VecDeque::new();
        let mut number = 0;
        let mut changes = self.host.life();
        loop {
            number += 1;
            let life = *changes.borrow_and_update();
            let at = self.clock.boot();
            // A metasrv that hangs answers nothing and breaks nothing: another may lead by now.
            if sent.front().is_some_and(|oldest: &Sent| at.saturating_sub(oldest.at) > 2 * self.session.interval) {
                return Err(Error::unavailable("metasrv does not answer beats"));
            }
            sent.push_back(Sent { number, at, life });
            if sent.len() > SENT_MAX {
                sent.pop_front();
            }
            let reports = state.orders.report_with(number);
            let beat = Beat { number, life, reports, regions: self.host.statistics() };
            beats.send(beat).await.map_err(|_| Error::unavailable("metasrv closed the heartbeat stream"))?;
            let next_beat = self.clock.sleep(self.session.interval);
            tokio::pin!(next_beat);
            loop {
                tokio::select! {
                    reply = replies.next() => {
                        let reply = reply.ok_or_else(|| Error::unavailable("metasrv ended the heartbeat stream"))??;
                        self.take(reply, &mut sent, state);
                    }
                    Some(news) = came.recv() => match news {
                        News::Done(subject, report) => {
                            self.finish(subject, report, state);
                            break;
                        }
                        News::Looked(beginning, is_alive) => self.looked(beginning, is_alive, state),
                    },
                    Ok(()) = changes.changed() => break,
                    () = &mut next_beat => break,
                }
            }
        }
    }

    fn take(&self, reply: BeatReply, sent: &mut VecDeque<Sent>, state: &mut State) {
        for order in state.orders.take(reply.orders) {
            self.carry_out(order, state);
        }
        let Some(beat) = reply.beat else { return };
        while let Some(Sent { number, at, life }) = sent.pop_front() {
            if number == beat {
                let at = if bug::is(Bug::LeaseFromReply) { self.clock.boot() } else { at };
                self.granted(at + self.session.lease, state);
                self.told.send_replace(life);
                break;
            }
        }
        state.orders.confirmed(beat);
        self.tell_ready(state);
    }

    /// Metasrv has granted the lease until then.
    fn granted(&self, until: Duration, state: &mut State) {
        match state.lease.granted(self.clock.boot(), until) {
            Step::Use(until) => self.host.renew(until),
            Step::Wait => {}
            Step::Look(beginning) => {
                let (host, news) = (Arc::clone(&self.host), state.news.clone());
                self.tasks.spawn("look at the log", async move {
                    let looked = host.check_session().await;
                    if let Err(error) = &looked {
                        tracing::warn!(%error, "the lease begins when it is known that nobody has ended the session");
                    }
                    // The beat loop ends only with the whole set.
                    let _ = news.send(News::Looked(beginning, looked.is_ok())).await;
                });
            }
        }
    }

    fn looked(&self, beginning: u64, is_alive: bool, state: &mut State) {
        if let Some(until) = state.lease.looked(beginning, is_alive) {
            self.host.renew(until);
            self.tell_ready(state);
        }
    }

    /// An order is done; the next one of its subject starts.
    fn finish(&self, subject: Subject, report: Report, state: &mut State) {
        if let Some(next) = state.orders.finish(subject, report) {
            self.carry_out(next, state);
        }
        self.tell_ready(state);
    }

    fn carry_out(&self, order: Order, state: &State) {
        let (host, news) = (Arc::clone(&self.host), state.news.clone());
        self.tasks.spawn("order", async move {
            let (id, subject) = (order.id, order.kind.subject());
            let outcome = host.carry_out(order.kind).await.map_err(Arc::new);
            if let Err(error) = &outcome {
                tracing::warn!(order = id, %subject, %error, "an order of metasrv failed");
            }
            let found = outcome.as_ref().err().and_then(|error| found(error));
            let _ = news.send(News::Done(subject, Report { order: id, outcome, found })).await;
        });
    }

    fn tell_ready(&self, state: &State) {
        if state.orders.are_done() && state.lease.counts() {
            self.ready.send_replace(true);
        }
    }
}

/// What the bucket said that metasrv may not know.
fn found(error: &Error) -> Option<Found> {
    let epoch = NewerEpoch::of(error).map(|newer| Found::Epoch(newer.0));
    epoch.or_else(|| NotSealed::of(error).map(|owner| Found::Owner(owner.0)))
}
