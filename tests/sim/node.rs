//! One life of a process: all roles, on what the last life left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use varve_datanode::{DatanodeConfig, DatanodeSetup, Storage};
use varve_engine::EngineOptions;
use varve_engine::wal::local::{Disk, OnFatal};
use varve_frontend::{Connect, FrontendConfig, FrontendSetup};
use varve_metasrv::Metasrv;
use varve_model::Result;
use varve_model::budget::Account;
use varve_model::id::NodeId;
use varve_proto::datanode::DatanodeApi;
use varve_proto::metasrv::MetasrvApi;
use varve_service::task::{Blocking, TaskSet};

use crate::door::Door;
use crate::world::World;

/// A running node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) door: Arc<Door>,
    /// A sync failed: a real process would have aborted.
    pub(crate) fatal: Arc<AtomicBool>,
}

/// Tiny sizes, drawn per seed, so that minutes are enough to flush, merge and checkpoint often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) flush_bytes: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) checkpoint_every: u64,
    pub(crate) sync_latency_ms: u64,
}

impl Sizes {
    pub(crate) fn draw(world: &World) -> Self {
        Self {
            flush_bytes: 2_000 << world.draw(5),
            segment_bytes: 16_384 << world.draw(4),
            checkpoint_every: 2 + world.draw(30),
            sync_latency_ms: 1 + world.draw(30),
        }
    }

    /// What both profiles make small.
    pub(crate) fn tune(self, options: &mut EngineOptions) {
        options.flush.region_bytes_max = self.flush_bytes;
        options.checkpoint_every = self.checkpoint_every;
        options.compact_every = Duration::from_secs(5);
        options.delete_grace = Duration::from_secs(2);
        options.orphan_age = Duration::ZERO;
    }
}

impl Node {
    pub(crate) async fn start(world: &World, sizes: Sizes) -> Result<Self> {
        let tasks = TaskSet::new(Blocking::Inline);
        let started = Self::start_on(world, sizes, tasks.clone()).await;
        if started.is_err() {
            tasks.kill();
        }
        started
    }

    async fn start_on(world: &World, sizes: Sizes, tasks: TaskSet) -> Result<Self> {
        let memory = Account::root("node", 256 << 20);
        let fatal = Arc::new(AtomicBool::new(false));
        let clock = world.clock.clone();
        let kv = Arc::clone(&world.kv);
        let metasrv = Metasrv::start(varve_metasrv::Config::default(), kv, clock.clone(), tasks.clone()).await?;
        let flag = Arc::clone(&fatal);
        let storage = Storage::custom(Arc::new(world.bucket.clone()), Disk::Shim(world.disk.clone()), move |options| {
            sizes.tune(options);
            options.wal.segment_bytes = sizes.segment_bytes;
            options.wal.latency_max = Duration::from_millis(sizes.sync_latency_ms);
            let flag = Arc::clone(&flag);
            options.wal.on_fatal = OnFatal(Arc::new(move |_| flag.store(true, Ordering::Relaxed)));
        });
        let datanode = varve_datanode::start(DatanodeSetup {
            config: DatanodeConfig { query_partitions: 1, ..DatanodeConfig::default() },
            node: NodeId(1),
            address: String::new(),
            metasrv: metasrv.clone() as Arc<dyn MetasrvApi>,
            connect: Arc::new(|node, _| Err(varve_model::Error::internal(format!("there is no datanode {node}")))),
            storage,
            clock: clock.clone(),
            tasks: tasks.clone(),
            memory: memory.clone(),
            queries: memory.clone(),
        })
        .await?;
        datanode.ready().await?;
        let reached = datanode as Arc<dyn DatanodeApi>;
        let connect: Connect = Arc::new(move |_, _| Ok(Arc::clone(&reached)));
        let frontend = varve_frontend::start(FrontendSetup {
            metasrv: metasrv.clone() as Arc<dyn MetasrvApi>,
            connect: Arc::clone(&connect),
            clock,
            tasks: tasks.clone(),
            memory,
            config: FrontendConfig { query_partitions: 1, ..FrontendConfig::default() },
        })?;
        frontend.ready().await;
        Ok(Self { door: Arc::new(Door { tasks, frontend, metasrv, connect }), fatal })
    }
}

/// Drops every task of a process where it stands.
pub(crate) async fn kill(tasks: &TaskSet) {
    tasks.kill();
    // Aborted tasks are dropped when the runtime next looks at them.
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}
