//! The engine of one datanode: prepare the log, start a session, open regions, keep house.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use object_store::ObjectStore;
use parking_lot::Mutex;
use varve_model::budget::Account;
use varve_model::id::{ClusterId, NodeEpoch, RegionEpoch, RegionId, Sequence, VolumeId};
use varve_model::table::{TableInfo, Ttl};
use varve_model::{Error, ErrorKind, Result, ResultExt};
use varve_service::clock::SharedClock;
use varve_service::task::TaskSet;

use crate::fault::bug::{self, Bug};
use crate::gc::session::{Deleted, delete_dead_session};
use crate::manifest::NewerEpoch;
use crate::region::options::EngineOptions;
use crate::region::{self, Region};
use crate::store::FileContext;
use crate::store::path::RegionPaths;
use crate::wal::local::{Disk, LockedWal};
use crate::wal::object::{ObjectSetup, ObjectWal, OnFenced, seal, session};
use crate::wal::{Wal, WalStatus};

mod house;
#[cfg(test)]
mod tests;

/// How long a stop waits for writes whose outcome the log does not know yet.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(15);

/// What an engine is made of.
#[derive(Clone, Debug)]
pub struct EngineSetup {
    /// The bucket.
    pub store: Arc<dyn ObjectStore>,
    /// Where the log is.
    pub log: Log,
    /// Time and randomness.
    pub clock: SharedClock,
    /// The node's tasks.
    pub tasks: TaskSet,
    /// All memory the engine may take.
    pub memory: Account,
    /// Bounds and periods.
    pub options: EngineOptions,
}

/// Where the log of a process is.
#[derive(Clone, Debug)]
pub enum Log {
    /// In a folder of its own disk.
    Local(Disk),
    /// In the bucket.
    Object,
}

impl From<Disk> for Log {
    fn from(disk: Disk) -> Self {
        Self::Local(disk)
    }
}

/// An engine whose log is at hand and whose session has no epoch yet.
#[derive(Debug)]
pub struct Prepared {
    setup: EngineSetup,
    log: PreparedLog,
}

#[derive(Debug)]
enum PreparedLog {
    Local(LockedWal),
    Object { seen: NodeEpoch, cluster: Option<ClusterId> },
}

impl Prepared {
    /// The volume of the local log; `None` with a log in the bucket.
    pub fn volume(&self) -> Option<VolumeId> {
        match &self.log {
            PreparedLog::Local(wal) => Some(wal.volume()),
            PreparedLog::Object { .. } => None,
        }
    }

    /// The highest session that lived on the volume or in the bucket; the new one must be above.
    pub fn seen_epoch(&self) -> NodeEpoch {
        match &self.log {
            PreparedLog::Local(wal) => wal.seen_epoch(),
            PreparedLog::Object { seen, .. } => *seen,
        }
    }

    /// The cluster that volume or bucket belongs to, unless it is fresh.
    pub fn cluster(&self) -> Option<ClusterId> {
        match &self.log {
            PreparedLog::Local(wal) => wal.cluster(),
            PreparedLog::Object { cluster, .. } => *cluster,
        }
    }

    /// Recovers the log and begins a session.
    /// Errors: `Fenced` = the epoch is not new (`EpochUsed` is its source when the log is in the bucket);
    /// `InvalidRequest` = another cluster's volume or bucket; `Corrupt`; `Unavailable`.
    pub async fn start(self, cluster: ClusterId, epoch: NodeEpoch) -> Result<Engine> {
        let Self { setup, log } = self;
        let fence = Fence::default();
        let wal: Arc<dyn Wal> = match log {
            PreparedLog::Local(wal) => {
                let options = setup.options.wal.clone();
                let recovered = setup.tasks.blocking("recover the log", move || wal.recover(cluster, epoch, options));
                Arc::new(recovered.await??.start(setup.tasks.clone(), Arc::clone(&setup.clock)))
            }
            PreparedLog::Object { cluster: Some(known), .. } if known != cluster => {
                return Err(Error::invalid("the bucket belongs to another cluster")
                    .with_hint("metadata and bucket must be of one cluster"));
            }
            PreparedLog::Object { .. } => Arc::new(begin(&setup, &fence, cluster, epoch).await?),
        };
        let share = |percent| setup.memory.bytes_max() / 100 * percent;
        let inner = Arc::new(Inner {
            memtables: setup.memory.child("memtables", share(setup.options.memtable_percent)),
            background: setup.memory.child("background", share(setup.options.background_percent)),
            indexes: setup.memory.child("series indexes", share(setup.options.index_percent)),
            setup,
            epoch,
            wal,
            regions: Mutex::new(BTreeMap::new()),
            fenced: AtomicBool::new(false),
        });
        fence.set(&inner);
        inner.setup.tasks.spawn("engine house", house::keep(Arc::clone(&inner)));
        inner.setup.tasks.spawn("engine compaction", house::compact(Arc::clone(&inner)));
        Ok(Engine { inner })
    }
}

/// Begins a session with its log in the bucket; its end reaches all regions before the owner hears of it.
async fn begin(setup: &EngineSetup, fence: &Fence, cluster: ClusterId, epoch: NodeEpoch) -> Result<ObjectWal> {
    let mut options = setup.options.object.clone();
    let (owner, fence) = (options.on_fenced.clone(), fence.clone());
    options.on_fenced = OnFenced(Arc::new(move |why| {
        fence.fall();
        (owner.0)(why);
    }));
    let setup = ObjectSetup {
        store: Arc::clone(&setup.store),
        clock: Arc::clone(&setup.clock),
        tasks: setup.tasks.clone(),
        memory: setup.memory.clone(),
        options,
    };
    ObjectWal::begin(setup, cluster, epoch).await
}

/// Ends all regions of an engine, which is made after its log.
#[derive(Clone, Debug, Default)]
struct Fence(Arc<OnceLock<Weak<Inner>>>);

impl Fence {
    fn set(&self, inner: &Arc<Inner>) {
        let _ = self.0.set(Arc::downgrade(inner));
    }

    fn fall(&self) {
        let Some(inner) = self.0.get().and_then(Weak::upgrade) else { return };
        inner.fenced.store(true, Ordering::Release);
        for region in inner.regions() {
            region.fence();
        }
    }
}

#[derive(Debug)]
struct Inner {
    setup: EngineSetup,
    epoch: NodeEpoch,
    wal: Arc<dyn Wal>,
    memtables: Account,
    background: Account,
    indexes: Account,
    regions: Mutex<BTreeMap<RegionId, Slot>>,
    /// Another process has ended this session.
    fenced: AtomicBool,
}

/// A region's place: its lock makes opening and dropping of one region a sequence.
type Slot = Arc<tokio::sync::Mutex<Option<Arc<Region>>>>;

/// The storage engine of one session. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    inner: Arc<Inner>,
}

impl Engine {
    /// Takes hold of the log. Errors: `Unavailable` when another process has the folder, or the store is away;
    /// `Corrupt`.
    pub async fn prepare(setup: EngineSetup) -> Result<Prepared> {
        let log = match &setup.log {
            Log::Local(disk) => {
                let (disk, random) = (disk.clone(), setup.clock.random());
                PreparedLog::Local(setup.tasks.blocking("lock the log", move || LockedWal::lock(disk, random)).await??)
            }
            Log::Object => {
                let doing = || "look for earlier sessions in the bucket";
                let sessions = session::all(&*setup.store, &setup.clock).await.context(doing)?;
                let cluster = session::cluster_of(&*setup.store, &setup.clock, &sessions).await.context(doing)?;
                PreparedLog::Object { seen: sessions.last().copied().unwrap_or_default(), cluster }
            }
        };
        Ok(Prepared { setup, log })
    }

    /// The session.
    pub fn epoch(&self) -> NodeEpoch {
        self.inner.epoch
    }

    /// Whether another process has ended this session: nothing of it can be written or read any more.
    pub fn is_fenced(&self) -> bool {
        self.inner.fenced.load(Ordering::Acquire)
    }

    /// Makes sure that nobody has ended this session while its owner could not know. Errors: `Fenced`; then all
    /// regions are ended before this returns. `Unavailable` = unknown: ask again.
    pub async fn check_session(&self) -> Result<()> {
        if bug::is(Bug::NoLookAfterLapse) {
            return Ok(());
        }
        self.inner.wal.check_session().await
    }

    /// Ends another session for good, on metasrv's order: its log takes no block after this returned. Idempotent.
    /// Errors: `InvalidRequest` for the own session, which [`Engine::stop`] ends; `Unavailable` = order it again.
    pub async fn seal_session(&self, session: NodeEpoch) -> Result<()> {
        if session == self.inner.epoch {
            return Err(Error::invalid(format!("session {session} is this one: it ends itself by stopping")));
        }
        seal::seal_session(&*self.inner.setup.store, &self.inner.setup.clock, session, self.inner.epoch).await
    }

    /// Deletes the log objects of a sealed session that no region needs any more, on metasrv's order. What is left
    /// goes with a later order. Errors: `InvalidRequest` for the own session; `Unavailable`, also when it is not sealed.
    pub async fn delete_dead_session(&self, session: NodeEpoch) -> Result<Deleted> {
        if session == self.inner.epoch {
            return Err(Error::invalid(format!("session {session} is alive")));
        }
        delete_dead_session(|region| self.inner.context(region, RegionEpoch(0)), session).await
    }

    /// Opens a region under a grant, creating it when it does not exist; the same grant again gives the same region.
    /// Writes and reads need a permit first. Errors: `Fenced` = a newer grant exists; `Corrupt`; `Unavailable`.
    pub async fn open(
        &self,
        region: RegionId,
        epoch: RegionEpoch,
        table: Arc<TableInfo>,
        ttl: Ttl,
    ) -> Result<Arc<Region>> {
        let slot = Arc::clone(self.inner.regions.lock().entry(region).or_default());
        let mut slot = slot.lock().await;
        if self.is_fenced() {
            return Err(Error::new(ErrorKind::Fenced, format!("session {} was ended", self.inner.epoch)));
        }
        if let Some(open) = &*slot {
            match open.epoch().cmp(&epoch) {
                std::cmp::Ordering::Equal => return Ok(Arc::clone(open)),
                std::cmp::Ordering::Greater => {
                    let text = format!("region {region} is open under epoch {}, not below {epoch}", open.epoch());
                    return Err(Error::new(ErrorKind::Fenced, text).with_source(NewerEpoch(open.epoch())));
                }
                std::cmp::Ordering::Less => {
                    open.close().await;
                    *slot = None;
                }
            }
        }
        let opening = region::Opening {
            session: self.inner.epoch,
            wal: Arc::clone(&self.inner.wal),
            memory: self.inner.memtables.clone(),
            indexes: self.inner.indexes.clone(),
            options: self.inner.setup.options.clone(),
        };
        let opened = Arc::new(region::open(self.inner.context(region, epoch), opening, table, ttl).await?);
        if self.is_fenced() {
            opened.fence();
        }
        *slot = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// An open region.
    pub fn region(&self, region: RegionId) -> Option<Arc<Region>> {
        let slot = self.inner.regions.lock().get(&region).cloned()?;
        let open = slot.try_lock().ok()?;
        open.clone()
    }

    /// The open regions, by id.
    pub fn regions(&self) -> Vec<Arc<Region>> {
        self.inner.regions()
    }

    /// Closes a region without removing anything: its grant went elsewhere, or its table is detached.
    pub async fn close_region(&self, region: RegionId) {
        let Some(slot) = self.inner.regions.lock().get(&region).cloned() else { return };
        if let Some(open) = slot.lock().await.take() {
            open.close().await;
        }
    }

    /// Removes a region's data for ever. One that is not open must be opened first, unless only its log rows are left.
    /// Errors: `Fenced`, `Unavailable`.
    pub async fn drop_region(&self, region: RegionId) -> Result<()> {
        let slot = self.inner.regions.lock().get(&region).cloned();
        if let Some(slot) = slot {
            let mut slot = slot.lock().await;
            if let Some(open) = slot.as_ref() {
                open.drop_data().await?;
                *slot = None;
                return Ok(());
            }
        }
        self.inner.wal.trim(region, Sequence(u64::MAX)).await
    }

    /// Size of the log and the regions with unflushed rows in it, whether open or not.
    pub fn wal_status(&self) -> WalStatus {
        self.inner.wal.status()
    }

    /// Closes all regions and the log: everything acknowledged stays in it. The task set is the caller's to stop.
    /// Errors: `Unavailable` when the store of the log does not answer; its successor replays and seals it.
    pub async fn stop(&self) -> Result<()> {
        let regions = self.regions();
        let closing = futures::future::join_all(regions.iter().map(|region| region.close()));
        tokio::select! {
            _ = closing => {}
            () = self.inner.setup.clock.sleep(CLOSE_TIMEOUT) => {
                tracing::warn!("regions still wait for their log: the session ends without their last writes' outcome");
            }
        }
        self.inner.wal.seal().await
    }
}

impl Inner {
    fn context(&self, region: RegionId, epoch: RegionEpoch) -> FileContext {
        FileContext {
            store: Arc::clone(&self.setup.store),
            region,
            paths: Arc::new(RegionPaths::new(region)),
            clock: Arc::clone(&self.setup.clock),
            tasks: self.setup.tasks.clone(),
            account: self.background.clone(),
            region_epoch: epoch,
        }
    }

    fn regions(&self) -> Vec<Arc<Region>> {
        let slots = self.regions.lock().values().cloned().collect::<Vec<_>>();
        slots.into_iter().filter_map(|slot| slot.try_lock().ok().and_then(|open| open.clone())).collect()
    }
}
