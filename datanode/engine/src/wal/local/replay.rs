//! Reads one region's blocks of closed segments, and nothing of other regions.

use std::sync::Arc;

use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::{mpsc, oneshot};
use varve_model::id::{NodeEpoch, RegionId, Sequence};
use varve_model::{Error, Result, ResultExt};
use varve_service::task::TaskSet;

use super::index::Segment;
use super::{Request, Shared, io_error, segment_name, stopped};
use crate::format::block::{self, Block};
use crate::format::segment::{self, IndexEntry};

/// The region's blocks that end above `from.1`, segment by segment, oldest first.
pub(super) fn replay(
    shared: Arc<Shared>,
    tasks: TaskSet,
    queue: mpsc::Sender<Request>,
    from: (RegionId, Sequence),
) -> BoxStream<'static, Result<Block>> {
    let (region, after) = from;
    let segments = {
        let shared = Arc::clone(&shared);
        async move {
            close_open(&shared, &queue, from).await?;
            Ok::<_, Error>(stream::iter(segments(&shared, from).into_iter().map(Ok::<_, Error>)))
        }
    };
    stream::once(segments)
        .try_flatten()
        .then(move |segment| {
            let (shared, tasks) = (Arc::clone(&shared), tasks.clone());
            async move {
                let (id, footer) = segment?;
                let entries = {
                    let shared = Arc::clone(&shared);
                    tasks.blocking("read a segment's footer", move || entries_of(&shared, id, footer)).await??
                };
                let wanted =
                    entries.into_iter().filter(move |entry| entry.region == region && entry.last_seq() > after);
                let blocks = wanted.map(move |entry| Ok::<_, Error>((Arc::clone(&shared), tasks.clone(), id, entry)));
                Ok::<_, Error>(stream::iter(blocks))
            }
        })
        .flat_map(|segment| match segment {
            Ok(blocks) => blocks.boxed(),
            Err(error) => stream::iter([Err(error)]).boxed(),
        })
        .then(|wanted| async move {
            let (shared, tasks, id, entry) = wanted?;
            tasks.blocking("read a block", move || read_block(&shared, id, &entry)).await?
        })
        .boxed()
}

/// Segments with blocks of the region above a sequence, and where their footers are.
fn segments(shared: &Shared, (region, after): (RegionId, Sequence)) -> Vec<((NodeEpoch, u64), u64)> {
    let index = shared.index.lock();
    let holds = |segment: &Segment| segment.last.get(&region).is_some_and(|last| *last > after);
    let held = index.segments.iter().filter(|(_, segment)| holds(segment));
    held.map(|(id, segment)| (*id, segment.footer)).collect()
}

/// A region that is opened again in one session may have blocks in the open segment, which has no footer yet.
async fn close_open(shared: &Shared, queue: &mpsc::Sender<Request>, from: (RegionId, Sequence)) -> Result<()> {
    if segments(shared, from).iter().all(|(_, footer)| *footer > 0) {
        return Ok(());
    }
    let (reply, closed) = oneshot::channel();
    queue.send(Request::Close(reply)).await.map_err(|_| stopped())?;
    closed.await.unwrap_or_else(|_| Err(stopped()))
}

fn entries_of(shared: &Shared, id: (NodeEpoch, u64), footer: u64) -> Result<Vec<IndexEntry>> {
    let name = segment_name(id.0, id.1);
    let bytes =
        shared.disk.read(&name, footer, u64::MAX).map_err(|error| io_error("read a segment's footer", error))?;
    let (_, body) = segment::take_record(&bytes)?;
    segment::decode_footer(body)
}

fn read_block(shared: &Shared, id: (NodeEpoch, u64), entry: &IndexEntry) -> Result<Block> {
    let name = segment_name(id.0, id.1);
    let bytes =
        shared.disk.read(&name, entry.offset, u64::from(entry.len)).map_err(|error| io_error("read a block", error))?;
    let doing = || format!("block at byte {} of segment {name}", entry.offset);
    let block = block::decode(&bytes).context(doing)?;
    if (block.region, block.first_seq, block.rows()) != (entry.region, entry.first_seq, u64::from(entry.rows)) {
        return Err(Error::corrupt("it is not the block that the footer names").context(doing()));
    }
    Ok(block)
}
