//! The write-ahead log: one per process, shared by its regions.
//!
//! The trait is the seam between the local log (standalone) and the log on the
//! object store (cluster): append, replay, trim, seal. A block counts as written
//! when its append is confirmed, never before. What a manifest says of a
//! region's sources is handed in, since only an object log may have to read,
//! and end, the log of another process.

use std::fmt::Debug;

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use varve_model::id::{NodeEpoch, RegionId, Sequence};
use varve_model::{Error, Result};

use crate::format::block::Block;

pub mod local;
pub mod object;
#[cfg(test)]
mod sample;

/// Where a block is: one address type for both logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The session that wrote it.
    pub session: NodeEpoch,
    /// Lane of the object log, segment stream of the local one.
    pub lane: u8,
    /// Number of the object or segment.
    pub seq: u64,
    /// Byte offset within it.
    pub offset: u64,
}

/// A session that may hold unflushed rows of a region: from which object or segment on, per lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The session.
    pub session: NodeEpoch,
    /// (lane, first object or segment still needed), sorted by lane.
    pub first: Vec<(u8, u64)>,
}

/// A block ready to be appended.
#[derive(Debug)]
pub struct EncodedBlock {
    /// Whose rows.
    pub region: RegionId,
    /// Number of the first row.
    pub first_seq: Sequence,
    /// Sequence numbers taken.
    pub rows: u64,
    /// As `format::block::encode` writes them.
    pub bytes: Vec<u8>,
}

/// A block handed to the log; resolves when it is durable.
#[derive(Debug)]
pub struct Pending(pub(crate) oneshot::Receiver<Result<Position>>);

impl Pending {
    /// Waits until the outcome is known, however long that takes: as long as it is not, the block may still become
    /// durable, and its sequence must not be given again. Errors: `Busy/DiskFull` and `Fenced` = definitely not
    /// written; `Unavailable` = unknown for ever.
    pub async fn durable(&mut self) -> Result<Position> {
        (&mut self.0).await.unwrap_or_else(|_| {
            Err(Error::unavailable("the write-ahead log stopped: the outcome of the write is unknown"))
        })
    }
}

/// Sizes of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalStatus {
    /// Bytes that restart would have to read.
    pub bytes: u64,
    /// Regions with blocks that are not flushed, oldest block first.
    pub regions: Vec<RegionId>,
    /// Regions whose manifest may still name other sessions' logs though this session has read them: when nothing of
    /// such a region is unflushed, an edit shall drop them.
    pub inherited: Vec<RegionId>,
}

/// A log.
#[async_trait]
pub trait Wal: Debug + Send + Sync {
    /// Queues a block; blocks of a region are logged in the order of the calls, without gaps in their sequence.
    /// May wait when the queue is full. Errors, all definite: `Busy`; `Unavailable` after the log was sealed;
    /// `Fenced` after another process sealed it.
    async fn append(&self, block: EncodedBlock) -> Result<Pending>;

    /// The region's durable blocks that end above `after`, in sequence order, whichever of its sources has them.
    /// Preconditions: `check_sources` passed for these and a claim was committed; none of the region's blocks is on
    /// its way. Errors: `Corrupt`, `Unavailable`.
    fn replay(&self, region: RegionId, after: Sequence, sources: &[Source]) -> BoxStream<'static, Result<Block>>;

    /// The sessions whose blocks a region with this flushed sequence still needs, this session among them.
    /// `head`: those that the manifest names now.
    fn sources(&self, region: RegionId, flushed_to: Sequence, head: &[Source]) -> Vec<Source>;

    /// Makes sure that nobody but this session writes to any of these any more, and that replay can read them. It ends
    /// none of them: only metasrv knows when a session cannot answer reads any more.
    /// Errors: `Unavailable` naming the session that nobody has sealed (with [`NotSealed`](object::seal::NotSealed) as
    /// its source) or that is elsewhere, or the store; `Fenced` when this session has ended.
    async fn check_sources(&self, sources: &[Source]) -> Result<()>;

    /// Makes sure that nobody has ended this session: to be asked when others may have, since a session that writes
    /// nothing would not learn of it. Errors: `Fenced`; `Unavailable` = unknown.
    async fn check_session(&self) -> Result<()>;

    /// Tells that the region's rows up to `flushed_to` are not needed any more; frees what nobody needs.
    async fn trim(&self, region: RegionId, flushed_to: Sequence) -> Result<()>;

    /// Confirms or refuses what is queued and takes nothing more.
    async fn seal(&self) -> Result<()>;

    /// Sizes.
    fn status(&self) -> WalStatus;
}
