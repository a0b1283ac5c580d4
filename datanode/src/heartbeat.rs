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
use varve_model::id::RegionId;
use varve_model::{Error, ErrorKind, Result};
use varve_proto::call::Call;
use varve_proto::metasrv::{Beat, BeatReply, MetasrvApi, Order, OrderKind, Report, Session};
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
}

/// Orders being carried out: one at a time per region, in order.
#[derive(Debug, Default)]
struct Running {
    ids: BTreeSet<u64>,
    waiting: BTreeMap<RegionId, VecDeque<Order>>,
}

impl Heart {
    /// Beats until the task set stops, or metasrv says that the session is over.
    pub(crate) async fn beat(self) {
        let token = self.tasks.token().clone();
        let (reports, mut reported) = mpsc::channel(REPORT_QUEUE_MAX);
        let mut running = Running::default();
        loop {
            let ended = tokio::select! {
                ended = self.stream(&mut running, &reports, &mut reported) => ended,
                () = token.cancelled() => return,
            };
            if let Err(error) = ended {
                if error.kind() == ErrorKind::Fenced {
                    // Regions keep their permits until the lease ends and then refuse: nothing to undo here.
                    tracing::error!(session = %self.session.epoch, %error, "metasrv ended this session: restart the process");
                    return;
                }
                tracing::warn!(%error, "heartbeat stream broke; opening it again");
            }
            tokio::select! {
                () = self.clock.sleep(RECONNECT_PAUSE) => {}
                () = token.cancelled() => return,
            }
        }
    }

    async fn stream(
        &self,
        running: &mut Running,
        reports: &mpsc::Sender<(RegionId, Report)>,
        reported: &mut mpsc::Receiver<(RegionId, Report)>,
    ) -> Result<()> {
        let (beats, stream) = mpsc::channel(BEAT_QUEUE_MAX);
        let call = Call::system("heartbeat", OPEN_TIMEOUT);
        let mut replies =
            self.metasrv.heartbeat(&call, self.session.epoch, Box::pin(ReceiverStream::new(stream))).await?;
        let mut sent = VecDeque::new();
        let mut number = 0;
        let mut done = Vec::new();
        loop {
            number += 1;
            sent.push_back((number, self.clock.boot()));
            if sent.len() > SENT_MAX {
                sent.pop_front();
            }
            let beat = Beat { number, reports: std::mem::take(&mut done), regions: self.host.statistics() };
            beats.send(beat).await.map_err(|_| Error::unavailable("metasrv closed the heartbeat stream"))?;
            let next_beat = self.clock.sleep(self.session.interval);
            tokio::pin!(next_beat);
            loop {
                tokio::select! {
                    reply = replies.next() => {
                        let reply = reply.ok_or_else(|| Error::unavailable("metasrv ended the heartbeat stream"))??;
                        self.take(reply, &mut sent, running, reports);
                    }
                    Some((region, report)) = reported.recv() => {
                        running.ids.remove(&report.order);
                        self.start_next(region, running, reports);
                        done.push(report);
                        break;
                    }
                    () = &mut next_beat => break,
                }
            }
        }
    }

    fn take(
        &self,
        reply: BeatReply,
        sent: &mut VecDeque<(u64, Duration)>,
        running: &mut Running,
        reports: &mpsc::Sender<(RegionId, Report)>,
    ) {
        for order in reply.orders {
            // An order is repeated until it is reported.
            if !running.ids.insert(order.id) {
                continue;
            }
            let region = region_of(&order.kind);
            let queue = running.waiting.entry(region).or_default();
            queue.push_back(order);
            if queue.len() == 1 {
                self.start_first(region, running, reports);
            }
        }
        let Some(beat) = reply.beat else { return };
        while let Some((number, at)) = sent.pop_front() {
            if number == beat {
                self.host.renew(at + self.session.lease);
                break;
            }
        }
        self.tell_ready(running);
    }

    /// The first region's order of a queue is done; the next one starts.
    fn start_next(&self, region: RegionId, running: &mut Running, reports: &mpsc::Sender<(RegionId, Report)>) {
        if let Some(queue) = running.waiting.get_mut(&region) {
            queue.pop_front();
            if queue.is_empty() {
                running.waiting.remove(&region);
            }
        }
        self.start_first(region, running, reports);
        self.tell_ready(running);
    }

    fn start_first(&self, region: RegionId, running: &Running, reports: &mpsc::Sender<(RegionId, Report)>) {
        let Some(order) = running.waiting.get(&region).and_then(VecDeque::front).cloned() else { return };
        let (host, reports) = (Arc::clone(&self.host), reports.clone());
        self.tasks.spawn("order", async move {
            let id = order.id;
            let outcome = host.carry_out(order.kind).await.map_err(Arc::new);
            if let Err(error) = &outcome {
                tracing::warn!(order = id, %region, %error, "an order of metasrv failed");
            }
            // The beat loop ends only with the whole set.
            let _ = reports.send((region, Report { order: id, outcome })).await;
        });
    }

    fn tell_ready(&self, running: &Running) {
        if running.ids.is_empty() {
            self.ready.send_replace(true);
        }
    }
}

fn region_of(kind: &OrderKind) -> RegionId {
    match kind {
        OrderKind::Open(grant) | OrderKind::Alter(grant) => grant.region,
        OrderKind::Drop(region)
        | OrderKind::Truncate(region)
        | OrderKind::Flush(region)
        | OrderKind::Compact(region) => *region,
    }
}
