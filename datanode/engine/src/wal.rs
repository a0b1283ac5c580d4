//! The write-ahead log: one per process, shared by its regions.
//!
//! The trait is the seam between the local log (standalone) and the log on the
//! object store (cluster): append, replay, trim, seal. A block counts as written
//! when its append is confirmed, never before.

use std::fmt::Debug;

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use varve_model::id::{NodeEpoch, RegionId, Sequence};
use varve_model::{Error, Result};

use crate::format::block::Block;

pub mod local;

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
    /// Waits. Errors: `Busy/DiskFull` = definitely not written; `Unavailable` = the outcome is unknown.
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
}

/// A log.
#[async_trait]
pub trait Wal: Debug + Send + Sync {
    /// Queues a block; blocks of a region are logged in the order of the calls, without gaps in their sequence.
    /// Waits when the queue is full. Errors: `Unavailable` after the log was sealed.
    async fn append(&self, block: EncodedBlock) -> Result<Pending>;

    /// The region's durable blocks that end above `after`, in sequence order, whichever session wrote them.
    /// Precondition: none of the region is on its way. Errors: `Corrupt`, `Unavailable`.
    fn replay(&self, region: RegionId, after: Sequence) -> BoxStream<'static, Result<Block>>;

    /// The sessions whose blocks a region with this flushed sequence still needs, this session last.
    fn sources(&self, region: RegionId, flushed_to: Sequence) -> Vec<Source>;

    /// Checks that replay can read all of these. Errors: `Unavailable` naming the session that is elsewhere.
    fn check_sources(&self, sources: &[Source]) -> Result<()>;

    /// Tells that the region's rows up to `flushed_to` are not needed any more; frees what nobody needs.
    async fn trim(&self, region: RegionId, flushed_to: Sequence) -> Result<()>;

    /// Confirms or refuses what is queued and takes nothing more.
    async fn seal(&self) -> Result<()>;

    /// Sizes.
    fn status(&self) -> WalStatus;
}
