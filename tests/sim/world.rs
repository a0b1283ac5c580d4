//! What outlives a process: disk, bucket, metadata, time.

use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use parking_lot::Mutex;
use varve_engine::store::fault::{FaultRates, FaultStore};
use varve_engine::wal::local::SimDisk;
use varve_metasrv::kv::memory::MemoryKv;
use varve_service::clock::{ManualClock, SharedClock};
use varve_service::task::{Blocking, TaskSet};

use crate::judge::audit::Auditor;

/// 2026-01-01T00:00:00Z.
const WALL_START_NANOS: i64 = 1_767_225_600_000_000_000;
/// Events kept for a failure's report.
const LAST_EVENTS: usize = 200;

/// The machine and its surroundings.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) clock: SharedClock,
    pub(crate) disk: SimDisk,
    pub(crate) bucket: FaultStore,
    pub(crate) auditor: Auditor,
    objects: Arc<InMemory>,
    pub(crate) kv: Arc<MemoryKv>,
    /// Effects that the bucket still owes run here, whatever happens to the node.
    bucket_tasks: TaskSet,
    trace: Mutex<Trace>,
}

#[derive(Debug, Default)]
struct Trace {
    hash: u64,
    events: u64,
    last: std::collections::VecDeque<String>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        let clock: SharedClock = Arc::new(ManualClock::new(seed ^ 0xc10c, WALL_START_NANOS));
        let bucket_tasks = TaskSet::new(Blocking::Inline);
        let objects = Arc::new(InMemory::new());
        let bucket = FaultStore::new(objects.clone(), clock.clone(), bucket_tasks.clone());
        let auditor = Auditor::new(objects.clone(), clock.clone());
        Arc::new(Self {
            clock,
            disk: SimDisk::new(),
            bucket,
            auditor,
            objects,
            kv: Arc::new(MemoryKv::new()),
            bucket_tasks,
            trace: Mutex::new(Trace::default()),
        })
    }

    /// Tasks of what surrounds the processes: they end with the world.
    pub(crate) fn tasks(&self) -> &TaskSet {
        &self.bucket_tasks
    }

    /// What the bucket holds, past every fault.
    pub(crate) fn objects(&self) -> &Arc<InMemory> {
        &self.objects
    }

    /// Faults of their own before a way to the bucket.
    pub(crate) fn faulty(&self, way: Arc<dyn ObjectStore>) -> FaultStore {
        FaultStore::new(way, self.clock.clone(), self.bucket_tasks.clone())
    }

    /// Notes an event with its simulated time.
    pub(crate) fn note(&self, event: impl std::fmt::Display) {
        let line = format!("{:>10.3} {event}", self.clock.boot().as_secs_f64());
        let mut trace = self.trace.lock();
        trace.events += 1;
        trace.hash = line.bytes().fold(trace.hash ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        if trace.last.len() == LAST_EVENTS {
            trace.last.pop_front();
        }
        trace.last.push_back(line);
    }

    pub(crate) fn trace(&self) -> (u64, Vec<String>) {
        let trace = self.trace.lock();
        (trace.hash, trace.last.iter().cloned().collect())
    }

    /// A number below `bound` from the simulation's own randomness.
    pub(crate) fn draw(&self, bound: u64) -> u64 {
        (self.clock.random() % u128::from(bound)) as u64
    }

    pub(crate) async fn sleep_millis(&self, millis: u64) {
        self.clock.sleep(Duration::from_millis(millis)).await;
    }

    /// Everything works from now on.
    pub(crate) fn heal(&self) {
        self.bucket.set_rates(FaultRates { latency_max: Duration::from_millis(20), ..FaultRates::default() });
        self.disk.fail_syncs(0);
    }

    pub(crate) fn end(&self) {
        self.bucket_tasks.kill();
    }
}
