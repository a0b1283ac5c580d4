//! One seed: minutes of faults under load, then healing, quiet and a full check.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use varve_model::table::MergeMode;
use varve_service::task::{Blocking, TaskSet};

use crate::fault::Fault;
use crate::judge::history::{Fate, History, Settled};
use crate::judge::{Verdict, judge};
use crate::node::{Node, Sizes, kill};
use crate::seed::{Outcome, Plan, in_virtual_time};
use crate::workload::{Client, Doors, create};
use crate::world::World;

/// Clients of a seed.
const CLIENTS: u64 = 3;
/// Within this time after the last fault the node must serve.
const RECOVERY_MAX: Duration = Duration::from_mins(1);

/// Runs a seed of the standalone profile in this thread.
pub(crate) fn run_seed(plan: Plan) -> Outcome {
    in_virtual_time(plan, async |plan| {
        let world = World::new(plan.seed);
        let mut run = Run::new(Arc::clone(&world));
        let violation = run.all(plan.minutes).await.err();
        world.end();
        if let Some(violation) = &violation {
            world.note(violation);
        }
        let (trace_hash, last_events) = world.trace();
        let acked = run.history.lock().appended(Fate::Acked) as u64;
        Outcome { violation, trace_hash, last_events, faults: run.faults.clone(), acked }
    })
}

struct Run {
    world: Arc<World>,
    sizes: Sizes,
    node: Option<Node>,
    doors: Doors,
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
            node: None,
            doors: Arc::default(),
            history: Arc::default(),
            running: Arc::default(),
            faults: BTreeMap::new(),
        }
    }

    async fn all(&mut self, minutes: u64) -> Result<(), String> {
        self.world.heal();
        self.start().await?;
        create(&self.current()?.door, "a", MergeMode::Append).await.map_err(|error| format!("create: {error}"))?;
        let clients = TaskSet::new(Blocking::Inline);
        for number in 0..CLIENTS {
            let client = Client {
                number,
                world: Arc::clone(&self.world),
                doors: Arc::clone(&self.doors),
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

    fn current(&self) -> Result<&Node, String> {
        self.node.as_ref().ok_or_else(|| "no node runs".to_owned())
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
        self.doors.lock().clear();
        if let Some(old) = self.node.take() {
            kill(&old.door.tasks).await;
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
                    self.doors.lock().push(Arc::clone(&node.door));
                    self.node = Some(node);
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
            let door = Arc::clone(&self.current()?.door);
            match judge(&self.world, &door, &self.history, Settled::Yes).await {
                Ok(()) => return Ok(()),
                Err(Verdict::Violated(why)) => return Err(why),
                Err(Verdict::Unread(error)) => self.world.note(format_args!("read attempt {attempt}: {error}")),
            }
            if attempt == 20 {
                self.world.heal();
            }
            self.world.sleep_millis(1000).await;
        }
        Err("I20: no read succeeds on a healthy node".to_owned())
    }
}
