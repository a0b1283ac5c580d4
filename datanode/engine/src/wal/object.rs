//! The log on the object store: one lane of numbered objects, each created once.
//!
//! One PUT is in flight and the next batch fills meanwhile: pipelining would
//! leave gaps that a sealer had to close. Whoever finds a slot of its lane
//! taken has been sealed by another process and stops for good; no clock and no
//! lease takes part in that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::ObjectStore;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use varve_model::budget::Account;
use varve_model::id::{ClusterId, NodeEpoch, RegionId, Sequence};
use varve_model::{Error, ErrorKind, Result};
use varve_service::clock::SharedClock;
use varve_service::task::TaskSet;

use super::{EncodedBlock, Pending, Source, Wal, WalStatus};
use crate::fault::bug::{self, Bug};
use crate::format::block::Block;

mod body;
pub(crate) mod dead;
mod index;
mod lane;
mod others;
mod queue;
mod replay;
pub mod seal;
pub mod session;
#[cfg(test)]
mod tests;

use index::LaneIndex;
use others::Others;
use queue::{Phase, Queue, Waiter};

/// Lanes that the format allows.
pub const LANES_MAX: u8 = 4;
/// How long a graceful seal waits for the store.
const SEAL_TIMEOUT: Duration = Duration::from_secs(30);
/// What a queued block takes beside its bytes.
const WAITER_BYTES: u64 = 256;

/// Called once when another process has ended this session: stop all regions, start again as a new session.
#[derive(Clone)]
pub struct OnFenced(pub Arc<dyn Fn(&str) + Send + Sync>);

impl Default for OnFenced {
    fn default() -> Self {
        Self(Arc::new(|why| tracing::error!(why, "the session was ended by another process")))
    }
}

impl std::fmt::Debug for OnFenced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnFenced")
    }
}

/// Bounds of the log on the object store.
#[derive(Clone, Debug)]
pub struct ObjectOptions {
    /// Lanes that the session declares, 1 to [`LANES_MAX`]; a sealer has to seal them all. One is used.
    pub lanes: u8,
    /// How long the first block of a batch waits for others. Each PUT costs the same, however little it holds.
    pub linger: Duration,
    /// Bytes at which a batch is cut without waiting.
    pub cut_bytes: usize,
    /// Bytes of blocks that an object takes at most, unless one block is larger.
    pub object_bytes_max: usize,
    /// Bytes of waiting blocks above which an append is refused.
    pub buffered_bytes_max: u64,
    /// Whom to tell that the session was ended.
    pub on_fenced: OnFenced,
}

impl Default for ObjectOptions {
    fn default() -> Self {
        Self {
            lanes: 1,
            linger: Duration::from_millis(200),
            cut_bytes: 4 << 20,
            object_bytes_max: 8 << 20,
            buffered_bytes_max: 256 << 20,
            on_fenced: OnFenced::default(),
        }
    }
}

/// What the log of a session is made of.
#[derive(Debug)]
pub struct ObjectSetup {
    /// The bucket.
    pub store: Arc<dyn ObjectStore>,
    /// Time and randomness.
    pub clock: SharedClock,
    /// The node's tasks.
    pub tasks: TaskSet,
    /// What waiting blocks are charged to, through a child of its own.
    pub memory: Account,
    /// Bounds.
    pub options: ObjectOptions,
}

/// The log of one session.
#[derive(Debug)]
pub struct ObjectWal {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Arc<dyn ObjectStore>,
    clock: SharedClock,
    tasks: TaskSet,
    session: NodeEpoch,
    options: ObjectOptions,
    memory: Account,
    queue: Mutex<Queue>,
    /// Tells the lane that the queue has changed.
    wake: Notify,
    index: Mutex<LaneIndex>,
    others: Others,
}

impl ObjectWal {
    /// Creates the session's object and starts its lane.
    /// Errors: `Fenced` with [`session::EpochUsed`] as its source; `Unavailable` = unknown: take another epoch.
    pub async fn begin(setup: ObjectSetup, cluster: ClusterId, session: NodeEpoch) -> Result<Self> {
        let ObjectSetup { store, clock, tasks, memory, mut options } = setup;
        options.lanes = options.lanes.clamp(1, LANES_MAX);
        session::create(&*store, &clock, cluster, (session, options.lanes)).await?;
        let shared = Arc::new(Shared {
            memory: memory.child("write-ahead log", options.buffered_bytes_max),
            store,
            clock,
            tasks: tasks.clone(),
            session,
            options,
            queue: Mutex::default(),
            wake: Notify::new(),
            index: Mutex::default(),
            others: Others::default(),
        });
        tasks.spawn("wal lane", lane::Writer::new(Arc::clone(&shared)).run());
        Ok(Self { shared })
    }

    /// Whether another process has ended this session.
    pub fn is_fenced(&self) -> bool {
        matches!(self.shared.queue.lock().phase(), Phase::Fenced(_))
    }
}

#[async_trait]
impl Wal for ObjectWal {
    async fn append(&self, block: EncodedBlock) -> Result<Pending> {
        failpoint!("wal.append.before");
        let shared = &self.shared;
        let charge = shared.memory.charge(block.bytes.len() as u64 + WAITER_BYTES)?;
        let (reply, pending) = oneshot::channel();
        let waiter = Waiter { block, reply, at: shared.clock.boot(), charge };
        if shared.queue.lock().push(waiter, &shared.options)? {
            shared.wake.notify_one();
        }
        Ok(Pending(pending))
    }

    fn replay(&self, region: RegionId, after: Sequence, sources: &[Source]) -> BoxStream<'static, Result<Block>> {
        replay::replay(Arc::clone(&self.shared), (region, after), sources.to_vec())
    }

    fn sources(&self, region: RegionId, flushed_to: Sequence, head: &[Source]) -> Vec<Source> {
        let mut sources = self.shared.others.still_needed(region, flushed_to, head, self.shared.session);
        let first = self.shared.index.lock().first_needed(region, flushed_to);
        sources.push(Source { session: self.shared.session, first: vec![(0, first)] });
        sources.sort_by_key(|source| source.session);
        sources
    }

    async fn check_sources(&self, sources: &[Source]) -> Result<()> {
        let shared = &self.shared;
        if let Phase::Fenced(why) = shared.queue.lock().phase() {
            return Err(fenced(why));
        }
        for source in sources.iter().filter(|source| source.session != shared.session) {
            if shared.others.is_sealed(source.session) {
                continue;
            }
            if bug::is(Bug::ClaimantSeals) {
                seal::seal_session(&*shared.store, &shared.clock, source.session, shared.session).await?;
            }
            seal::require_end(&*shared.store, &shared.clock, source.session).await?;
            shared.others.note_sealed(source.session);
        }
        Ok(())
    }

    async fn check_session(&self) -> Result<()> {
        let shared = &self.shared;
        for lane in 0..shared.options.lanes {
            if let Phase::Fenced(why) = shared.queue.lock().phase() {
                return Err(fenced(why));
            }
            let head = if lane == 0 { shared.index.lock().head() } else { 0 };
            let lane = (shared.session, lane);
            if let Some(why) = seal::find_end(&*shared.store, &shared.clock, lane, head).await? {
                shared.end(&why);
                return Err(fenced(&why));
            }
        }
        Ok(())
    }

    async fn trim(&self, region: RegionId, flushed_to: Sequence) -> Result<()> {
        failpoint!("wal.trim.before");
        self.shared.others.flushed(region, flushed_to);
        self.shared.index.lock().flushed(region, flushed_to);
        lane::delete_trimmable(&self.shared).await;
        failpoint!("wal.trim.after");
        Ok(())
    }

    async fn seal(&self) -> Result<()> {
        let (reply, done) = oneshot::channel();
        if !self.shared.queue.lock().seal(reply)? {
            return Ok(());
        }
        self.shared.wake.notify_one();
        tokio::select! {
            biased;
            sealed = done => sealed.unwrap_or_else(|_| Err(stopped())),
            () = self.shared.clock.sleep(SEAL_TIMEOUT) => Err(Error::unavailable(
                "the object store does not answer: the write-ahead log is not sealed, its successor will do it",
            )),
        }
    }

    fn status(&self) -> WalStatus {
        let waiting = self.shared.queue.lock().bytes() as u64;
        let index = self.shared.index.lock();
        WalStatus {
            bytes: index.bytes() + waiting,
            regions: index.unflushed(),
            inherited: self.shared.others.inherited(),
        }
    }
}

impl Shared {
    /// Another process has ended the session: who waits is refused for certain, the owner is told, once.
    fn end(&self, why: &str) {
        let Some((waiting, sealers)) = self.queue.lock().fence(why) else { return };
        (self.options.on_fenced.0)(why);
        for waiter in waiting {
            let _ = waiter.reply.send(Err(fenced(why)));
        }
        for sealer in sealers {
            let _ = sealer.send(Err(fenced(why)));
        }
        self.wake.notify_one();
    }

    /// Trims as if every acknowledged row were flushed: the planted bug, and nothing without it.
    fn trim_on_ack(&self, blocks: &BTreeMap<RegionId, Sequence>) -> bool {
        if !bug::is(Bug::TrimOnAck) {
            return false;
        }
        let mut index = self.index.lock();
        for (region, last) in blocks {
            index.flushed(*region, *last);
        }
        true
    }
}

fn stopped() -> Error {
    Error::unavailable("the write-ahead log takes nothing more: the node is stopping")
}

fn fenced(why: &str) -> Error {
    Error::new(ErrorKind::Fenced, format!("the write-ahead log takes nothing more: {why}"))
}

fn unknown(why: &str) -> Error {
    Error::unavailable(format!("{why}: the outcome of the write is unknown"))
}
