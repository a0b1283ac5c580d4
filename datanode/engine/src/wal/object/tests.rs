//! The log on the object store: what it confirms is there, what it refuses is not, and a sealed one is over.

use std::sync::atomic::{AtomicU32, Ordering};

use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use varve_model::time::TimeRange;
use varve_service::clock::ManualClock;
use varve_service::task::Blocking;

use super::*;
use crate::store::fault::{Fate, FaultRates, FaultStore, OperationCounts};
use crate::store::path;
use crate::wal::Position;
use crate::wal::sample::{block, encoded};

mod history;
mod lane;
mod sealing;

const CLUSTER: ClusterId = ClusterId(1);
const ONE: RegionId = RegionId(1);
const TWO: RegionId = RegionId(2);

/// A bucket that outlives its nodes.
struct World {
    store: FaultStore,
    inner: Arc<InMemory>,
    clock: SharedClock,
    options: ObjectOptions,
}

struct Node {
    wal: ObjectWal,
    tasks: TaskSet,
    /// How often the owner was told.
    fenced: Arc<AtomicU32>,
}

impl World {
    fn new(seed: u64) -> Self {
        let clock: SharedClock = Arc::new(ManualClock::new(seed, 0));
        let inner = Arc::new(InMemory::new());
        let store = FaultStore::new(inner.clone(), Arc::clone(&clock), TaskSet::new(Blocking::Inline));
        Self { store, inner, clock, options: ObjectOptions::default() }
    }

    async fn begin(&self, session: u64) -> Result<Node> {
        let tasks = TaskSet::new(Blocking::Inline);
        let fenced = Arc::new(AtomicU32::new(0));
        let told = Arc::clone(&fenced);
        let on_fenced = OnFenced(Arc::new(move |_| {
            told.fetch_add(1, Ordering::Relaxed);
        }));
        let setup = ObjectSetup {
            store: Arc::new(self.store.clone()),
            clock: Arc::clone(&self.clock),
            tasks: tasks.clone(),
            memory: Account::root("test", 1 << 30),
            options: ObjectOptions { on_fenced, ..self.options.clone() },
        };
        Ok(Node { wal: ObjectWal::begin(setup, CLUSTER, NodeEpoch(session)).await?, tasks, fenced })
    }

    async fn seal(&self, session: u64) -> Result<()> {
        seal::seal_session(&self.store, &self.clock, NodeEpoch(session), NodeEpoch(99)).await
    }

    /// Slots of a lane that exist.
    async fn slots(&self, session: u64, lane: u8) -> Vec<u64> {
        let listed = seal::list(&*self.inner, &self.clock, NodeEpoch(session), lane).await.unwrap();
        listed.into_iter().map(|(slot, _)| slot).collect()
    }

    async fn bytes(&self, session: u64, slot: u64) -> bytes::Bytes {
        self.inner.get(&path::wal_object(NodeEpoch(session), 0, slot)).await.unwrap().bytes().await.unwrap()
    }

    /// Puts bytes past all faults, whatever is there.
    async fn overwrite(&self, session: u64, slot: u64, bytes: bytes::Bytes) {
        self.inner.put(&path::wal_object(NodeEpoch(session), 0, slot), bytes.into()).await.unwrap();
    }

    async fn delete(&self, session: u64, slot: u64) {
        self.inner.delete(&path::wal_object(NodeEpoch(session), 0, slot)).await.unwrap();
    }
}

impl Node {
    async fn append(&self, block: &Block) -> Result<Position> {
        self.wal.append(encoded(block)).await?.durable().await
    }

    /// One object for each of these.
    async fn objects(&self, blocks: &[Block]) {
        for block in blocks {
            self.append(block).await.unwrap();
        }
    }

    /// Makes sure that these have ended, on metasrv's order.
    async fn succeed(&self, sources: &[Source]) -> Result<()> {
        let Shared { store, clock, session, .. } = &*self.wal.shared;
        for source in sources.iter().filter(|source| source.session != *session) {
            seal::seal_session(&**store, clock, source.session, *session).await?;
        }
        self.wal.check_sources(sources).await
    }

    async fn replay(&self, region: RegionId, after: u64, sources: &[Source]) -> Result<Vec<Block>> {
        self.succeed(sources).await?;
        self.wal.replay(region, Sequence(after), sources).try_collect().await
    }

    fn fenced(&self) -> u32 {
        self.fenced.load(Ordering::Relaxed)
    }
}

fn source(session: u64, first: u64) -> Source {
    Source { session: NodeEpoch(session), first: vec![(0, first)] }
}

/// What changed between two counts.
fn spent(before: OperationCounts, after: OperationCounts) -> (u64, u64, u64, u64) {
    (after.put - before.put, after.get - before.get, after.list - before.list, after.delete - before.delete)
}
