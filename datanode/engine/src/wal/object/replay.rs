//! Reads one region's blocks by the footers of its sources, in sequence order, and nothing of other regions.

use std::sync::Arc;

use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt};
use varve_model::id::{NodeEpoch, RegionId, Sequence};
use varve_model::{Error, ErrorKind, Result, ResultExt};
use varve_service::clock::SharedClock;

use super::{Shared, body};
use crate::format::block::Block;
use crate::format::segment::IndexEntry;
use crate::store::create::with_retry_of;
use crate::store::path;
use crate::wal::Source;

/// Ranges read ahead; each lies within one object.
const READ_AHEAD: usize = 4;
/// Bytes of other regions that are read along rather than asked for around.
const GAP_MAX: u64 = 256 << 10;

/// A block and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    session: NodeEpoch,
    lane: u8,
    slot: u64,
    entry: IndexEntry,
}

impl Wanted {
    fn end(&self) -> u64 {
        self.entry.offset + u64::from(self.entry.len)
    }
}

/// The region's blocks that end above `after`; `(region, after)`.
pub(super) fn replay(
    shared: Arc<Shared>,
    (region, after): (RegionId, Sequence),
    sources: Vec<Source>,
) -> BoxStream<'static, Result<Block>> {
    let gathered = {
        let shared = Arc::clone(&shared);
        async move {
            let wanted = gather(&shared, (region, after), &sources).await?;
            Ok::<_, Error>(stream::iter(ranges(wanted).into_iter().map(Ok::<_, Error>)))
        }
    };
    stream::once(gathered)
        .try_flatten()
        .map_ok(move |range| {
            let shared = Arc::clone(&shared);
            async move { read(&*shared.store, &shared.clock, range).await }
        })
        .try_buffered(READ_AHEAD)
        .map_ok(|blocks| stream::iter(blocks.into_iter().map(Ok)))
        .try_flatten()
        .boxed()
}

/// All blocks of all sources, in sequence order: a region may come back to a session, so sessions do not order it.
async fn gather(shared: &Shared, (region, after): (RegionId, Sequence), sources: &[Source]) -> Result<Vec<Wanted>> {
    let mut wanted = Vec::new();
    for source in sources {
        let session = source.session;
        if session == shared.session {
            let blocks = shared.index.lock().blocks(region, after);
            wanted.extend(blocks.into_iter().map(|(slot, entry)| Wanted { session, lane: 0, slot, entry }));
            continue;
        }
        let index = shared.others.index(&*shared.store, &shared.clock, session).await?;
        let index = index.get().expect("it was read just now");
        let blocks = index.blocks(region, after, &source.first)?;
        let last = blocks.iter().map(|(_, _, entry)| entry.last_seq()).max();
        shared.others.note_read(region, session, last.unwrap_or(after));
        wanted.extend(blocks.into_iter().map(|(lane, slot, entry)| Wanted { session, lane, slot, entry }));
    }
    wanted.sort_by_key(|wanted| wanted.entry.first_seq);
    Ok(wanted)
}

/// Neighbours in one object that are read with one request.
fn ranges(wanted: Vec<Wanted>) -> Vec<Vec<Wanted>> {
    let mut ranges = Vec::<Vec<Wanted>>::new();
    for block in wanted {
        let place = |wanted: &Wanted| (wanted.session, wanted.lane, wanted.slot);
        let joins = |last: &&mut Vec<Wanted>| {
            let before = &last[last.len() - 1];
            let gap = block.entry.offset.checked_sub(before.end());
            place(before) == place(&block) && gap.is_some_and(|gap| gap <= GAP_MAX)
        };
        match ranges.last_mut().filter(joins) {
            Some(range) => range.push(block),
            None => ranges.push(vec![block]),
        }
    }
    ranges
}

/// The blocks of a range. Errors: `Corrupt`, `Unavailable`.
async fn read(store: &dyn ObjectStore, clock: &SharedClock, blocks: Vec<Wanted>) -> Result<Vec<Block>> {
    let (first, last) = (blocks[0], blocks[blocks.len() - 1]);
    let path = path::wal_object(first.session, first.lane, first.slot);
    let range = first.entry.offset..last.end();
    let bytes = with_retry_of(clock, &path, range.end - range.start, || store.get_range(&path, range.clone())).await;
    let bytes = bytes.map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::corrupt(format!("{path} is gone, but its rows are in no file")),
        _ => error,
    })?;
    let block = |wanted: Wanted| {
        let start = (wanted.entry.offset - first.entry.offset) as usize;
        let stored = bytes.get(start..start + wanted.entry.len as usize);
        let stored = stored.ok_or_else(|| Error::corrupt("it is shorter than its footer says"));
        let block = stored.and_then(|stored| body::decode(stored, &wanted.entry));
        block.context(|| format!("block at byte {} of {path}", wanted.entry.offset))
    };
    blocks.into_iter().map(block).collect()
}
