//! The log on the local disk: segments, group commit, recovery.
//!
//! One writer task owns the open segment. Whoever waits while it syncs forms
//! the next group; a group is one record and one `fdatasync`.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use varve_model::id::{ClusterId, NodeEpoch, RegionId, Sequence, VolumeId};
use varve_model::{Error, ErrorKind, Reason, Result};
use varve_service::clock::SharedClock;
use varve_service::task::TaskSet;

use super::{EncodedBlock, Pending, Source, Wal, WalStatus};
use crate::format::block::Block;

mod disk;
mod index;
mod recover;
mod replay;
mod shim;
#[cfg(test)]
mod tests;
mod volume;
mod writer;

pub use disk::{Disk, DiskLock};
pub use shim::SimDisk;

use index::{Index, segment_name};
use volume::Volume;

/// What to do with damage in the middle of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Damage {
    /// Do not start.
    #[default]
    Refuse,
    /// Lose the rows in it, with an audit event: an operator's explicit act.
    Skip,
}

/// Called when the log cannot go on safely (a failed sync); does not return in a real process.
#[derive(Clone)]
pub struct OnFatal(pub Arc<dyn Fn(&str) + Send + Sync>);

impl Default for OnFatal {
    fn default() -> Self {
        Self(Arc::new(|why| {
            tracing::error!(why, "the write-ahead log cannot go on: the process aborts and replays at its next start");
            // Linux may have dropped the dirty pages and cleared the error, so a second sync would lie.
            std::process::abort();
        }))
    }
}

impl std::fmt::Debug for OnFatal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnFatal")
    }
}

/// Bounds of the local log.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// Size at which a segment is closed.
    pub segment_bytes: u64,
    /// Size at which a group takes no more blocks.
    pub group_bytes_max: usize,
    /// How long a lone first waiter waits for others; zero lets only the running sync gather them.
    pub linger: std::time::Duration,
    /// Blocks that may wait for the next group.
    pub queue_max: usize,
    /// What to do with damage.
    pub damage: Damage,
    /// The way out when a sync fails.
    pub on_fatal: OnFatal,
    /// Simulated time of a write and of a sync; zero on real disks.
    pub latency_max: std::time::Duration,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            group_bytes_max: 1 << 20,
            linger: std::time::Duration::ZERO,
            queue_max: 1024,
            damage: Damage::Refuse,
            on_fatal: OnFatal::default(),
            latency_max: std::time::Duration::ZERO,
        }
    }
}

/// A locked folder, before the session has an epoch.
#[derive(Debug)]
pub struct LockedWal {
    disk: Disk,
    lock: DiskLock,
    volume: Volume,
    segments: Vec<(NodeEpoch, u64)>,
}

impl LockedWal {
    /// Locks the folder and reads who lived here. Blocks. Errors: `Unavailable` when it is in use, `Corrupt`.
    pub fn lock(disk: Disk, random: u128) -> Result<Self> {
        let lock = disk.lock()?;
        let segments = recover::list(&disk)?;
        let volume = Volume::open(&disk, random, !segments.is_empty())?;
        Ok(Self { disk, lock, volume, segments })
    }

    /// The volume.
    pub fn volume(&self) -> VolumeId {
        self.volume.id
    }

    /// The cluster it belongs to, unless it is fresh.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.volume.cluster
    }

    /// The highest session that lived here; 0 on a fresh volume.
    pub fn seen_epoch(&self) -> NodeEpoch {
        let segments = self.segments.iter().map(|segment| segment.0);
        self.volume.sessions.iter().copied().chain(segments).max().unwrap_or_default()
    }

    /// Recovers what earlier sessions left and begins a session. Blocks.
    /// Errors: `Fenced` when the epoch is not new, `InvalidRequest` for another cluster's volume, `Corrupt`.
    pub fn recover(mut self, cluster: ClusterId, session: NodeEpoch, options: LocalOptions) -> Result<RecoveredWal> {
        if self.volume.cluster.is_some_and(|known| known != cluster) {
            return Err(Error::invalid(format!(
                "the write-ahead log in {} belongs to another cluster",
                self.disk.place()
            ))
            .with_hint("metadata and write-ahead log must come from the same data directory"));
        }
        if session <= self.seen_epoch() {
            return Err(Error::new(
                ErrorKind::Fenced,
                format!("session {session} is not newer than session {} of this volume", self.seen_epoch()),
            ));
        }
        let mut index = recover::recover(&self.disk, &self.segments, &options)?;
        self.volume.cluster = Some(cluster);
        self.volume.sessions.extend(self.segments.iter().map(|segment| segment.0));
        self.volume.sessions.push(session);
        self.volume.sessions.sort_unstable();
        self.volume.sessions.dedup();
        self.volume.store(&self.disk)?;
        index.sessions = self.volume.sessions.iter().copied().collect();
        Ok(RecoveredWal { disk: self.disk, lock: self.lock, volume: self.volume.id, session, index, options })
    }
}

/// A recovered folder, before its writer runs.
#[derive(Debug)]
pub struct RecoveredWal {
    disk: Disk,
    lock: DiskLock,
    volume: VolumeId,
    session: NodeEpoch,
    index: Index,
    options: LocalOptions,
}

/// The log of one process.
#[derive(Debug)]
pub struct LocalWal {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Request>,
    tasks: TaskSet,
}

#[derive(Debug)]
struct Shared {
    disk: Disk,
    session: NodeEpoch,
    volume: VolumeId,
    options: LocalOptions,
    index: Mutex<Index>,
    #[allow(dead_code, reason = "held for as long as the log is used")]
    lock: DiskLock,
}

#[derive(Debug)]
enum Request {
    Append(EncodedBlock, oneshot::Sender<Result<super::Position>>),
    /// Closes the open segment, so that it can be replayed.
    Close(oneshot::Sender<Result<()>>),
    Seal(oneshot::Sender<Result<()>>),
}

impl RecoveredWal {
    /// Starts the writer.
    pub fn start(self, tasks: TaskSet, clock: SharedClock) -> LocalWal {
        let (queue, requests) = mpsc::channel(self.options.queue_max);
        let shared = Arc::new(Shared {
            disk: self.disk,
            session: self.session,
            volume: self.volume,
            options: self.options,
            index: Mutex::new(self.index),
            lock: self.lock,
        });
        let writer = writer::Writer::new(Arc::clone(&shared), tasks.clone(), clock);
        tasks.spawn("wal writer", writer.run(requests));
        LocalWal { shared, queue, tasks }
    }
}

fn stopped() -> Error {
    Error::unavailable("the write-ahead log takes nothing more: the node is stopping")
}

#[async_trait]
impl Wal for LocalWal {
    async fn append(&self, block: EncodedBlock) -> Result<Pending> {
        failpoint!("wal.append.before");
        let (reply, pending) = oneshot::channel();
        self.queue.send(Request::Append(block, reply)).await.map_err(|_| stopped())?;
        Ok(Pending(pending))
    }

    fn replay(&self, region: RegionId, after: Sequence, _: &[Source]) -> BoxStream<'static, Result<Block>> {
        replay::replay(Arc::clone(&self.shared), self.tasks.clone(), self.queue.clone(), (region, after))
    }

    fn sources(&self, region: RegionId, flushed_to: Sequence, _: &[Source]) -> Vec<Source> {
        let index = self.shared.index.lock();
        let current = (self.shared.session, writer::newest(&index, self.shared.session));
        index.sources(region, flushed_to, current)
    }

    async fn check_sources(&self, sources: &[Source]) -> Result<()> {
        let index = self.shared.index.lock();
        match sources.iter().find(|source| !index.sessions.contains(&source.session)) {
            None => Ok(()),
            Some(source) => Err(Error::unavailable(format!(
                "unflushed rows are in the write-ahead log of session {}, which is not on this volume",
                source.session
            ))
            .with_hint("start the node that has the volume of that session")),
        }
    }

    async fn check_session(&self) -> Result<()> {
        // The folder is locked by this process.
        Ok(())
    }

    async fn trim(&self, region: RegionId, flushed_to: Sequence) -> Result<()> {
        failpoint!("wal.trim.before");
        let free = {
            let mut index = self.shared.index.lock();
            let flushed = index.flushed.entry(region).or_default();
            *flushed = (*flushed).max(flushed_to);
            let free = index.trimmable();
            for id in &free {
                index.segments.remove(id);
            }
            free
        };
        if free.is_empty() {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        self.tasks
            .blocking("trim the write-ahead log", move || {
                free.iter().try_for_each(|(session, seq)| shared.disk.remove(&segment_name(*session, *seq)))
            })
            .await?
            .map_err(|error| io_error("remove a segment", error))?;
        failpoint!("wal.trim.after");
        Ok(())
    }

    async fn seal(&self) -> Result<()> {
        let (reply, done) = oneshot::channel();
        if self.queue.send(Request::Seal(reply)).await.is_err() {
            return Ok(());
        }
        done.await.unwrap_or_else(|_| Err(stopped()))
    }

    fn status(&self) -> WalStatus {
        let index = self.shared.index.lock();
        WalStatus { bytes: index.bytes(), regions: index.unflushed(), inherited: Vec::new() }
    }
}

/// An error of the disk as the caller must see it.
fn io_error(doing: &str, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::StorageFull {
        return Error::busy(format!("write-ahead log: cannot {doing}: no space is left on the disk"))
            .with_reason(Reason::DiskFull)
            .with_source(error);
    }
    Error::unavailable(format!("write-ahead log: cannot {doing}: {error}")).with_source(error)
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}
