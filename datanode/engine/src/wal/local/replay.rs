//! Reads one region's blocks of closed segments, and nothing of other regions.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use varve_model::id::{NodeEpoch, RegionId, Sequence};
use varve_model::{Error, Result, ResultExt};
use varve_service::task::TaskSet;

use super::{Shared, io_error, segment_name};
use crate::format::block::{self, Block};
use crate::format::segment::{self, IndexEntry};

/// The region's blocks that end above `after`, segment by segment, oldest first.
pub(super) fn replay(
    shared: Arc<Shared>,
    tasks: TaskSet,
    region: RegionId,
    after: Sequence,
) -> BoxStream<'static, Result<Block>> {
    let segments = {
        let index = shared.index.lock();
        let holds = |last: Option<&Sequence>| last.is_some_and(|last| *last > after);
        index
            .segments
            .iter()
            .filter(|((session, _), segment)| *session != shared.session && holds(segment.last.get(&region)))
            .map(|(id, segment)| (*id, segment.footer))
            .collect::<Vec<_>>()
    };
    stream::iter(segments)
        .then(move |(id, footer)| {
            let (shared, tasks) = (Arc::clone(&shared), tasks.clone());
            async move {
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
