//! One seed: minutes of faults under load, then healing, quiet and a full check.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Builder, RngSeed};
use varve_engine::fault::bug::{self, Bug};
use varve_service::task::{Blocking, TaskSet};

use crate::fault::Fault;
use crate::history::{Fate, History};
use crate::node::{Node, Sizes};
use crate::read;
use crate::workload::{Client, create};
use crate::world::World;

/// Clients of a seed.
const CLIENTS: u64 = 3;
/// Within this time after the last fault the node must serve.
const RECOVERY_MAX: Duration = Duration::from_mins(1);

/// What a seed showed.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) violation: Option<String>,
    pub(crate) trace_hash: u64,
    pub(crate) last_events: Vec<String>,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    pub(crate) acked: u64,
}

/// Runs a seed in this thread.
pub(crate) fn run_seed(seed: u64, minutes: u64, planted: Option<Bug>) -> Outcome {
    bug::set(planted);
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .rng_seed(RngSeed::from_bytes(&seed.to_le_bytes()))
        .build()
        .expect("a runtime");
    let outcome = runtime.block_on(async {
        let world = World::new(seed);
        let mut run = Run::new(Arc::clone(&world));
        let violation = run.all(minutes).await.err();
        world.end();
        if let Some(violation) = &violation {
            world.note(violation);
        }
        let (trace_hash, last_events) = world.trace();
        let acked = run.history.lock().appended(Fate::Acked) as u64;
        Outcome { violation, trace_hash, last_events, faults: run.faults.clone(), acked }
    });
    bug::set(None);
    outcome
}

struct Run {
    world: Arc<World>,
    sizes: Sizes,
    node: Arc<Mutex<Option<Arc<Node>>>>,
    history: Arc<Mutex<History>>,
    running: Arc<tokio::sync::RwLock<()>>,
    faults: BTreeMap<&'static str, u64>,
}

impl Run {
    fn new(world: Arc<World>) -> Self {
        let sizes = Sizes::draw(&world);
        world.note(format_args!("{sizes:?}"));
        Self {
            world,
            sizes,
            node: Arc::default(),
            history: Arc::default(),
            running: Arc::default(),
            faults: BTreeMap::new(),
        }
    }

    async fn all(&mut self, minutes: u64) -> Result<(), String> {
        self.world.heal();
        self.start().await?;
        let node = self.current()?;
        create(&node).await.map_err(|error| format!("create: {error}"))?;
        drop(node);
        let clients = TaskSet::new(Blocking::Inline);
        for number in 0..CLIENTS {
            let client = Client {
                number,
                world: Arc::clone(&self.world),
                node: Arc::clone(&self.node),
                history: Arc::clone(&self.history),
                running: Arc::clone(&self.running),
            };
            clients.spawn("client", client.work());
        }
        let faults_end = self.world.clock.boot() + Duration::from_secs(minutes * 60);
        while self.world.clock.boot() < faults_end {
            self.world.sleep_millis(1000 + self.world.draw(40_000)).await;
            self.fault(Fault::draw(&self.world)).await?;
        }
        self.world.note("heal");
        self.world.heal();
        self.restart(Fault::Kill).await?;
        self.world.sleep_millis(30_000).await;
        self.judge().await?;
        // Replaying what was replayed gives the same (I21).
        self.restart(Fault::Kill).await?;
        self.restart(Fault::PowerLoss).await?;
        self.judge().await?;
        clients.kill();
        Ok(())
    }

    fn current(&self) -> Result<Arc<Node>, String> {
        self.node.lock().clone().ok_or_else(|| "no node runs".to_owned())
    }

    async fn fault(&mut self, fault: Fault) -> Result<(), String> {
        *self.faults.entry(fault.name()).or_default() += 1;
        self.world.note(fault.name());
        if fault.ends_the_process() {
            return self.restart(fault).await;
        }
        fault.strike(&self.world);
        self.world.sleep_millis(500 + self.world.draw(5_000)).await;
        if self.current()?.fatal.load(Ordering::Relaxed) {
            self.world.note("a sync failed: the process ends");
            return self.restart(Fault::Kill).await;
        }
        Ok(())
    }

    /// Ends the process, strikes, starts the next one, and judges what it shows.
    async fn restart(&mut self, fault: Fault) -> Result<(), String> {
        let old = self.node.lock().take();
        if let Some(old) = old {
            old.kill().await;
        }
        fault.strike(&self.world);
        self.world.sleep_millis(self.world.draw(3_000)).await;
        self.start().await?;
        self.judge().await
    }

    /// Starts a process; a bucket that errs may need several tries.
    async fn start(&mut self) -> Result<(), String> {
        let deadline = self.world.clock.boot() + RECOVERY_MAX;
        loop {
            match tokio::time::timeout(RECOVERY_MAX, Node::start(&self.world, self.sizes)).await {
                Ok(Ok(node)) => {
                    self.world.note("started");
                    *self.node.lock() = Some(Arc::new(node));
                    return Ok(());
                }
                Ok(Err(error)) if error.kind() == varve_model::ErrorKind::Corrupt => {
                    return Err(format!("the node does not start: {error}"));
                }
                Ok(Err(error)) => self.world.note(format_args!("start failed: {error}")),
                Err(_) => self.world.note("start hangs"),
            }
            self.world.disk.kill();
            if self.world.clock.boot() > deadline {
                // I20: after the last fault the node must come up.
                self.world.heal();
            }
            if self.world.clock.boot() > deadline + RECOVERY_MAX {
                return Err("I20: the node does not start on a healthy machine".to_owned());
            }
            self.world.sleep_millis(1000).await;
        }
    }

    /// Reads all while no client works, and compares.
    async fn judge(&mut self) -> Result<(), String> {
        let running = Arc::clone(&self.running);
        let _alone = running.write().await;
        for attempt in 0..40 {
            let node = self.current()?;
            let read = async {
                let keys = read::keys(&node).await?;
                let appends = read::appends(&node).await?;
                let regions = read::regions(&node).await?;
                Ok::<_, varve_model::Error>((keys, appends, regions))
            };
            match read.await {
                Ok((keys, appends, regions)) => {
                    self.world.note(format_args!("read {} keys and {} appended rows", keys.len(), appends.len()));
                    for region in regions {
                        self.world.auditor.check(region).await?;
                    }
                    let mut history = self.history.lock();
                    history.judge(&keys)?;
                    return history.judge_appends(&appends);
                }
                Err(error) if error.kind() == varve_model::ErrorKind::Corrupt => return Err(format!("I9: {error}")),
                Err(error) => self.world.note(format_args!("read attempt {attempt}: {error}")),
            }
            if attempt == 20 {
                self.world.heal();
            }
            self.world.sleep_millis(1000).await;
        }
        Err("I20: no read succeeds on a healthy node".to_owned())
    }
}
