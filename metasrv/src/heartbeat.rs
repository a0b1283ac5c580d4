//! One heartbeat stream: beats come in, replies and orders go out as soon as they exist.

use std::sync::Arc;

use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use varve_model::id::NodeEpoch;
use varve_model::{Error, Result};
use varve_proto::metasrv::{Beat, BeatReply, Messages};
use varve_service::clock::SharedClock;
use varve_service::task::TaskSet;

use crate::registry::{ORDERS_PER_REPLY_MAX, Registry, Seat};

/// Replies that wait for a slow datanode; beats then wait too, which ends its lease.
const REPLY_QUEUE_MAX: usize = 16;

/// Seats the stream and serves it until either side ends it.
/// Errors: `Fenced` for a session that ended or never was: seal it and start another.
pub(crate) fn serve(
    registry: &Arc<Registry>,
    session: NodeEpoch,
    beats: Messages<Beat>,
    clock: SharedClock,
    tasks: &TaskSet,
) -> Result<Messages<Result<BeatReply>>> {
    let seat = registry.connect(session)?;
    let (replies, stream) = mpsc::channel(REPLY_QUEUE_MAX);
    let registry = Arc::clone(registry);
    let token = tasks.token().clone();
    tasks.spawn("heartbeat stream", async move {
        let served = tokio::select! {
            served = run(&registry, &seat, beats, &replies, &clock) => served,
            () = token.cancelled() => Err(Error::unavailable("metasrv stops")),
            () = replies.closed() => Ok(()),
        };
        registry.disconnect(&seat);
        if let Err(error) = served {
            tracing::info!(session = %seat.session, %error, "heartbeat stream ends");
            // The datanode may be gone already.
            let _ = replies.try_send(Err(error));
        }
    });
    Ok(Box::pin(ReceiverStream::new(stream)))
}

async fn run(
    registry: &Registry,
    seat: &Seat,
    mut beats: Messages<Beat>,
    replies: &mpsc::Sender<Result<BeatReply>>,
    clock: &SharedClock,
) -> Result<()> {
    loop {
        let answered = tokio::select! {
            beat = beats.next() => {
                let Some(beat) = beat else { return Ok(()) };
                let number = beat.number;
                registry.beat(seat, beat, clock.boot())?;
                Some(number)
            }
            () = seat.wake.notified() => None,
        };
        send_due(registry, seat, answered, replies, clock).await?;
    }
}

/// Sends all orders that are due and answers a beat, if any, in the last message: whoever reads
/// the answer has all orders that were due when it beat.
async fn send_due(
    registry: &Registry,
    seat: &Seat,
    beat: Option<u64>,
    replies: &mpsc::Sender<Result<BeatReply>>,
    clock: &SharedClock,
) -> Result<()> {
    loop {
        let orders = registry.due(seat, clock.boot())?;
        let is_last = orders.len() < ORDERS_PER_REPLY_MAX;
        if !orders.is_empty() || (is_last && beat.is_some()) {
            let reply = BeatReply { beat: beat.filter(|_| is_last), orders };
            replies
                .send(Ok(reply))
                .await
                .map_err(|_| Error::unavailable("the datanode closed its heartbeat stream"))?;
        }
        if is_last {
            return Ok(());
        }
    }
}
