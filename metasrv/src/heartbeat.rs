//! One heartbeat stream: beats come in, replies and orders go out as soon as they exist.
//!
//! Nothing is said once the leader's own lease is over: a deposed leader must not
//! renew anyone, nor end a session that its successor may know.

use std::sync::Arc;

use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use varve_model::id::NodeEpoch;
use varve_model::{Error, Result};
use varve_proto::metasrv::{Beat, BeatReply, Messages};
use varve_service::clock::SharedClock;

use crate::leader::Leadership;
use crate::procedure::Executor;
use crate::registry::{ORDERS_PER_REPLY_MAX, Registry, Seat};

/// Replies that wait for a slow datanode; beats then wait too, which ends its lease.
const REPLY_QUEUE_MAX: usize = 16;

/// Seats the stream and serves it until either side ends it.
/// Errors: `Fenced` for a session that ended or never was: seal it and start another.
pub(crate) fn serve(
    executor: &Executor,
    session: NodeEpoch,
    beats: Messages<Beat>,
) -> Result<Messages<Result<BeatReply>>> {
    let seat = executor.registry.connect(session)?;
    let (replies, stream) = mpsc::channel(REPLY_QUEUE_MAX);
    let line = Line { registry: Arc::clone(&executor.registry), seat, clock: Arc::clone(&executor.clock), replies };
    let leadership = Arc::clone(&executor.leadership);
    let token = executor.tasks.token().clone();
    executor.tasks.spawn("heartbeat stream", async move {
        let Line { registry, seat, replies, .. } = &line;
        let served = tokio::select! {
            served = line.run(beats, &leadership) => served,
            () = token.cancelled() => Err(Error::unavailable("metasrv stops")),
            () = replies.closed() => Ok(()),
        };
        registry.disconnect(seat);
        if let Err(error) = served {
            tracing::info!(session = %seat.session, %error, "heartbeat stream ends");
            // The datanode may be gone already.
            let _ = replies.try_send(Err(error));
        }
    });
    Ok(Box::pin(ReceiverStream::new(stream)))
}

/// A stream that is seated.
struct Line {
    registry: Arc<Registry>,
    seat: Seat,
    clock: SharedClock,
    replies: mpsc::Sender<Result<BeatReply>>,
}

impl Line {
    async fn run(&self, mut beats: Messages<Beat>, leadership: &Leadership) -> Result<()> {
        loop {
            let answered = tokio::select! {
                beat = beats.next() => {
                    let Some(beat) = beat else { return Ok(()) };
                    let number = beat.number;
                    let now = self.clock.boot();
                    leadership.check(now)?;
                    self.registry.beat(&self.seat, beat, now)?;
                    Some(number)
                }
                () = self.seat.wake.notified() => None,
            };
            self.send_due(answered, leadership).await?;
        }
    }

    /// Sends all orders that are due and answers a beat, if any, in the last message: whoever reads
    /// the answer has all orders that were due when it beat.
    async fn send_due(&self, beat: Option<u64>, leadership: &Leadership) -> Result<()> {
        loop {
            // The queue may be full: what is said counts when there is room to say it.
            let room = self.replies.reserve().await;
            let room = room.map_err(|_| Error::unavailable("the datanode closed its heartbeat stream"))?;
            let now = self.clock.boot();
            leadership.check(now)?;
            let orders = self.registry.due(&self.seat, now)?;
            let is_last = orders.len() < ORDERS_PER_REPLY_MAX;
            if !orders.is_empty() || (is_last && beat.is_some()) {
                room.send(Ok(BeatReply { beat: beat.filter(|_| is_last), orders }));
            }
            if is_last {
                return Ok(());
            }
        }
    }
}
