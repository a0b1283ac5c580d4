//! Beats to metasrv, carries out the orders that come back, and reports them at once.
//!
//! The lease is counted from our own send of the beat that metasrv answered,
//! on the clock that counts through suspend: a late answer never lengthens it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use varve_engine::manifest::NewerEpoch;
use varve_model::{Error, ErrorKind, Result};
use varve_proto::call::Call;
use varve_proto::metasrv::{Beat, BeatReply, Life, MetasrvApi, Order, Report, Session, Subject};
use varve_service::clock::SharedClock;
use varve_service::task::TaskSet;

use crate::host::Host;

/// Beats that may wait for the stream.
const BEAT_QUEUE_MAX: usize = 16;
/// Reports that may wait for the next beat.
const REPORT_QUEUE_MAX: usize = 256;
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

/// Orders and what became of them. It outlives a broken stream, so that no order is carried out twice:
/// a second truncate would remove rows that were acknowledged after the first.
#[derive(Debug, Default)]
struct Orders {
    /// One at a time per subject, in order.
    waiting: BTreeMap<Subject, VecDeque<Order>>,
    /// Ids in `waiting`.
    ids: BTreeSet<u64>,
    /// Outcomes that metasrv has not confirmed, with the beat of this stream that carried them.
    reports: BTreeMap<u64, (Report, Option<u64>)>,
    /// Whether metasrv has answered a beat: the orders that came before it are known.
    answered: bool,
}

impl Orders {
    /// Outcomes to send with a beat. They are kept until that beat is answered.
    fn report_with(&mut self, beat: u64) -> Vec<Report> {
        let unsent = self.reports.values_mut().filter(|(_, carried)| carried.is_none());
        unsent
            .map(|(report, carried)| {
                *carried = Some(beat);
                report.clone()
            })
            .collect()
    }

    /// Metasrv has seen everything up to this beat.
    fn confirmed(&mut self, beat: u64) {
        self.answered = true;
        self.reports.retain(|_, (_, carried)| carried.is_none_or(|carried| carried > beat));
    }

    /// What a broken stream carried may not have arrived.
    fn stream_broke(&mut self) {
        for (_, carried) in self.reports.values_mut() {
            *carried = None;
        }
    }
}

impl Heart {
    /// Beats until the task set stops, or metasrv says that the session is over.
    pub(crate) async fn beat(self) {
        let token = self.tasks.token().clone();
        let (done, mut finished) = mpsc::channel(REPORT_QUEUE_MAX);
        let mut orders = Orders::default();
        loop {
            let ended = tokio::select! {
                ended = self.stream(&mut orders, &done, &mut finished) => ended,
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
            orders.stream_broke();
            tokio::select! {
                () = self.clock.sleep(RECONNECT_PAUSE) => {}
                () = token.cancelled() => return,
            }
        }
    }

    async fn stream(
        &self,
        orders: &mut Orders,
        done: &mpsc::Sender<(Subject, Report)>,
        finished: &mut mpsc::Receiver<(Subject, Report)>,
    ) -> Result<()> {
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
            let reports = orders.report_with(number);
            let beat = Beat { number, life, reports, regions: self.host.statistics() };
            beats.send(beat).await.map_err(|_| Error::unavailable("metasrv closed the heartbeat stream"))?;
            let next_beat = self.clock.sleep(self.session.interval);
            tokio::pin!(next_beat);
            loop {
                tokio::select! {
                    reply = replies.next() => {
                        let reply = reply.ok_or_else(|| Error::unavailable("metasrv ended the heartbeat stream"))??;
                        self.take(reply, &mut sent, orders, done);
                    }
                    Some((subject, report)) = finished.recv() => {
                        self.finish(subject, report, orders, done);
                        break;
                    }
                    Ok(()) = changes.changed() => break,
                    () = &mut next_beat => break,
                }
            }
        }
    }

    fn take(
        &self,
        reply: BeatReply,
        sent: &mut VecDeque<Sent>,
        orders: &mut Orders,
        done: &mpsc::Sender<(Subject, Report)>,
    ) {
        for order in reply.orders {
            // An order is repeated until its report has arrived.
            if orders.reports.contains_key(&order.id) || !orders.ids.insert(order.id) {
                continue;
            }
            let subject = order.kind.subject();
            let queue = orders.waiting.entry(subject).or_default();
            queue.push_back(order);
            if queue.len() == 1 {
                self.start_first(subject, orders, done);
            }
        }
        let Some(beat) = reply.beat else { return };
        while let Some(Sent { number, at, life }) = sent.pop_front() {
            if number == beat {
                self.host.renew(at + self.session.lease);
                self.told.send_replace(life);
                break;
            }
        }
        orders.confirmed(beat);
        self.tell_ready(orders);
    }

    /// An order is done; the next one of its subject starts.
    fn finish(&self, subject: Subject, report: Report, orders: &mut Orders, done: &mpsc::Sender<(Subject, Report)>) {
        orders.ids.remove(&report.order);
        orders.reports.insert(report.order, (report, None));
        if let Some(queue) = orders.waiting.get_mut(&subject) {
            queue.pop_front();
            if queue.is_empty() {
                orders.waiting.remove(&subject);
            }
        }
        self.start_first(subject, orders, done);
        self.tell_ready(orders);
    }

    fn start_first(&self, subject: Subject, orders: &Orders, done: &mpsc::Sender<(Subject, Report)>) {
        let Some(order) = orders.waiting.get(&subject).and_then(VecDeque::front).cloned() else { return };
        let (host, done) = (Arc::clone(&self.host), done.clone());
        self.tasks.spawn("order", async move {
            let id = order.id;
            let outcome = host.carry_out(order.kind).await.map_err(Arc::new);
            if let Err(error) = &outcome {
                tracing::warn!(order = id, %subject, %error, "an order of metasrv failed");
            }
            // The beat loop ends only with the whole set.
            let found_epoch = outcome.as_ref().err().and_then(|error| NewerEpoch::of(error)).map(|newer| newer.0);
            let _ = done.send((subject, Report { order: id, outcome, found_epoch })).await;
        });
    }

    fn tell_ready(&self, orders: &Orders) {
        if orders.answered && orders.ids.is_empty() {
            self.ready.send_replace(true);
        }
    }
}
