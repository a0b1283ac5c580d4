//! The engine of one datanode: prepare the log, start a session, open regions, keep house.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::ObjectStore;
use parking_lot::Mutex;
use varve_model::budget::Account;
use varve_model::id::{ClusterId, NodeEpoch, RegionEpoch, RegionId, Sequence, VolumeId};
use varve_model::table::{TableInfo, Ttl};
use varve_model::{Error, ErrorKind, Result};
use varve_service::clock::SharedClock;
use varve_service::task::TaskSet;

use crate::region::options::EngineOptions;
use crate::region::{self, Region};
use crate::store::FileContext;
use crate::store::path::RegionPaths;
use crate::wal::local::{Disk, LockedWal};
use crate::wal::{Wal, WalStatus};

mod house;
#[cfg(test)]
mod tests;

/// What an engine is made of.
#[derive(Debug)]
pub struct EngineSetup {
    /// The bucket.
    pub store: Arc<dyn ObjectStore>,
    /// The folder of the local log.
    pub disk: Disk,
    /// Time and randomness.
    pub clock: SharedClock,
    /// The node's tasks.
    pub tasks: TaskSet,
    /// All memory the engine may take.
    pub memory: Account,
    /// Bounds and periods.
    pub options: EngineOptions,
}

/// An engine whose log is locked and whose session has no epoch yet.
#[derive(Debug)]
pub struct Prepared {
    setup: EngineSetup,
    wal: LockedWal,
}

impl Prepared {
    /// The volume of the local log.
    pub fn volume(&self) -> VolumeId {
        self.wal.volume()
    }

    /// The highest session that lived on it; the new one must be above.
    pub fn seen_epoch(&self) -> NodeEpoch {
        self.wal.seen_epoch()
    }

    /// The cluster it belongs to, unless it is fresh.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.wal.cluster()
    }

    /// Recovers the log and begins a session.
    /// Errors: `Fenced` = the epoch is not new; `InvalidRequest` = another cluster's volume; `Corrupt`; `Unavailable`.
    pub async fn start(self, cluster: ClusterId, epoch: NodeEpoch) -> Result<Engine> {
        let Self { setup, wal } = self;
        let options = setup.options.wal.clone();
        let recovered = setup.tasks.blocking("recover the log", move || wal.recover(cluster, epoch, options)).await??;
        let wal: Arc<dyn Wal> = Arc::new(recovered.start(setup.tasks.clone(), Arc::clone(&setup.clock)));
        let share = |percent| setup.memory.bytes_max() / 100 * percent;
        let (memtables, background) = (share(setup.options.memtable_percent), share(setup.options.background_percent));
        let inner = Arc::new(Inner {
            memtables: setup.memory.child("memtables", memtables),
            background: setup.memory.child("background", background),
            setup,
            epoch,
            wal,
            regions: Mutex::new(BTreeMap::new()),
        });
        inner.setup.tasks.spawn("engine house", house::keep(Arc::clone(&inner)));
        Ok(Engine { inner })
    }
}

#[derive(Debug)]
struct Inner {
    setup: EngineSetup,
    epoch: NodeEpoch,
    wal: Arc<dyn Wal>,
    memtables: Account,
    background: Account,
    regions: Mutex<BTreeMap<RegionId, Slot>>,
}

/// A region's place: its lock makes opening and dropping of one region a sequence.
type Slot = Arc<tokio::sync::Mutex<Option<Arc<Region>>>>;

/// The storage engine of one session. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    inner: Arc<Inner>,
}

impl Engine {
    /// Locks the log's folder. Errors: `Unavailable` when another process has it, `Corrupt`.
    pub async fn prepare(setup: EngineSetup) -> Result<Prepared> {
        let (disk, random) = (setup.disk.clone(), setup.clock.random());
        let wal = setup.tasks.blocking("lock the log", move || LockedWal::lock(disk, random)).await??;
        Ok(Prepared { setup, wal })
    }

    /// The session.
    pub fn epoch(&self) -> NodeEpoch {
        self.inner.epoch
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
        if let Some(open) = &*slot {
            match open.epoch().cmp(&epoch) {
                std::cmp::Ordering::Equal => return Ok(Arc::clone(open)),
                std::cmp::Ordering::Greater => {
                    let text = format!("region {region} is open under epoch {}, not below {epoch}", open.epoch());
                    return Err(Error::new(ErrorKind::Fenced, text));
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
            options: self.inner.setup.options.clone(),
        };
        let opened = Arc::new(region::open(self.inner.context(region, epoch), opening, table, ttl).await?);
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
    pub async fn stop(&self) -> Result<()> {
        for region in self.regions() {
            region.close().await;
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
