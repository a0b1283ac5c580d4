//! One seed of a cluster: minutes of faults under load, then healing, quiet and a full check.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use varve_metasrv::kv::key::{self, SessionKey, SessionState};
use varve_metasrv::kv::memory::Backup;
use varve_metasrv::kv::{KvStore, MemoryKv};
use varve_model::id::NodeEpoch;
use varve_model::table::MergeMode;
use varve_service::task::{Blocking, TaskSet};

use super::fault::{FAULTS, Fault, Relief};
use super::machine::Machine;
use super::network::Peer;
use super::reader::Reader;
use super::{Shape, Surroundings};
use crate::door::Door;
use crate::judge::history::{Fate, Freshness, History, Settled};
use crate::judge::{Verdict, judge};
use crate::seed::{Outcome, Plan, in_virtual_time};
use crate::workload::{Client, create};
use crate::world::World;

/// Clients of a seed.
const CLIENTS: u64 = 3;
/// Readers beside them.
const READERS: u64 = 2;
/// Backups of the metadata that are kept.
const BACKUPS_MAX: usize = 4;
/// Within this time after the last fault every region takes writes and reads.
const RECOVERY_MAX: Duration = Duration::from_mins(1);
/// How long one read of everything may take.
const READ_MAX: Duration = Duration::from_secs(10);
/// Series that a probe writes, so that it reaches every region.
const PROBES: u64 = 8;

/// Runs a seed of the cluster profile in this thread.
pub(crate) fn run_seed(plan: Plan) -> Outcome {
    run(plan, Shape::draw, async |run| run.all(plan.minutes).await)
}

/// Runs a cluster of some shape through `work` in this thread.
pub(super) fn run(
    plan: Plan,
    shape: impl FnOnce(&World) -> Shape,
    work: impl AsyncFnOnce(&mut Run) -> Result<(), String>,
) -> Outcome {
    in_virtual_time(plan, async |plan| {
        let world = World::new(plan.seed);
        let shape = shape(&world);
        let mut run = Run::new(&world, shape);
        let violation = work(&mut run).await.err();
        if let Some(violation) = &violation {
            world.note(violation);
        }
        run.clients.kill();
        for machine in &mut run.machines {
            machine.kill(&run.around).await;
        }
        world.end();
        let (trace_hash, last_events) = world.trace();
        let acked = run.history.lock().appended(Fate::Acked) as u64;
        Outcome { violation, trace_hash, last_events, faults: run.faults, acked }
    })
}

/// A cluster under test.
pub(crate) struct Run {
    pub(crate) around: Arc<Surroundings>,
    pub(crate) kv: Arc<MemoryKv>,
    pub(crate) machines: Vec<Machine>,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    /// What ends the faults that last.
    pub(crate) due: Vec<(Duration, Relief)>,
    /// What the metadata store held at some times.
    pub(crate) backups: Vec<Backup>,
    pub(super) clients: TaskSet,
    history: Arc<Mutex<History>>,
    running: Arc<tokio::sync::RwLock<()>>,
    probes: u64,
    pub(super) turns: u64,
}

impl Run {
    fn new(world: &Arc<World>, shape: Shape) -> Self {
        let around = Surroundings::new(world, shape);
        let kv = MemoryKv::timed(world.clock.clone(), world.tasks());
        let machines = around.machines(&kv);
        Self {
            around,
            kv,
            machines,
            faults: BTreeMap::new(),
            due: Vec::new(),
            backups: Vec::new(),
            clients: TaskSet::new(Blocking::Inline),
            history: Arc::default(),
            running: Arc::default(),
            probes: 0,
            turns: 0,
        }
    }

    pub(crate) fn start(&mut self, at: usize) -> Result<(), String> {
        self.machines[at].start(&self.around).map_err(|error| format!("start: {error}"))
    }

    pub(super) fn client(&self, number: u64) -> Client {
        Client {
            number,
            world: Arc::clone(&self.around.world),
            doors: Arc::clone(&self.around.doors),
            history: Arc::clone(&self.history),
            running: Arc::clone(&self.running),
        }
    }

    async fn all(&mut self, minutes: u64) -> Result<(), String> {
        self.heal()?;
        self.create().await?;
        self.backups.push(self.kv.backup());
        let chosen = self.choose_faults();
        for number in 0..CLIENTS {
            self.clients.spawn("client", self.client(number).work());
        }
        // Reads are as strong as leases are: a clock that stands still breaks them.
        let is_strong = !chosen.contains(&Fault::SlowClock);
        let freshness = if is_strong { Freshness::Strong } else { Freshness::Any };
        for number in 0..READERS {
            let reader = self.reader(number, freshness)?;
            self.clients.spawn("reader", reader.work());
        }
        self.faults(&chosen, minutes).await?;
        self.around.world.note("heal");
        self.heal()?;
        self.probe().await?;
        self.around.world.sleep_millis(30_000).await;
        self.judge_healthy().await?;
        // Replaying what was replayed gives the same (I21).
        for _ in 0..2 {
            self.strike(Fault::KillAll).await;
            self.heal()?;
        }
        self.judge_healthy().await?;
        self.clients.kill();
        self.around.ledger.check()
    }

    pub(super) fn reader(&self, number: u64, freshness: Freshness) -> Result<Reader, String> {
        let (around, history) = (Arc::clone(&self.around), Arc::clone(&self.history));
        let metasrv = around.members(Peer::Reader(number), &around.world.clock, &self.clients);
        let metasrv = metasrv.map_err(|error| format!("reader: {error}"))?;
        Ok(Reader { number, around, metasrv, history, freshness })
    }

    fn choose_faults(&self) -> Vec<Fault> {
        let chosen = FAULTS.iter().copied().filter(|_| self.around.world.draw(2) == 0).collect::<Vec<_>>();
        if chosen.is_empty() { FAULTS.to_vec() } else { chosen }
    }

    pub(super) fn door(&self) -> Option<Arc<Door>> {
        self.client(CLIENTS).door()
    }

    pub(super) async fn create(&self) -> Result<(), String> {
        let deadline = self.around.world.clock.boot() + RECOVERY_MAX;
        loop {
            let made = async {
                let door = self.door().ok_or_else(|| varve_model::Error::internal("no frontend runs"))?;
                create(&door, "m", MergeMode::LastNonNull).await?;
                create(&door, "a", MergeMode::Append).await
            };
            match made.await {
                Ok(()) => return Ok(()),
                Err(error) if self.around.world.clock.boot() > deadline => {
                    return Err(format!("create: {error}"));
                }
                Err(error) => self.around.world.note(format_args!("create: {error}")),
            }
            self.around.world.sleep_millis(200).await;
        }
    }

    /// Minutes of faults, each of some of the kinds.
    async fn faults(&mut self, chosen: &[Fault], minutes: u64) -> Result<(), String> {
        let world = Arc::clone(&self.around.world);
        let pause_max = 2_000 << world.draw(4);
        let end = world.clock.boot() + Duration::from_mins(minutes);
        let mut next_fault = world.clock.boot();
        let mut next_look = world.clock.boot() + Duration::from_secs(20 + world.draw(60));
        while world.clock.boot() < end {
            let wake = self.due.iter().map(|(at, _)| *at).chain([next_fault, next_look]).min().unwrap_or(end);
            world.clock.sleep(wake.saturating_sub(world.clock.boot())).await;
            let now = world.clock.boot();
            let (due, rest) = std::mem::take(&mut self.due).into_iter().partition(|(at, _)| *at <= now);
            self.due = rest;
            for (_, relief) in due {
                self.relieve(relief)?;
            }
            if next_fault <= now {
                self.back_up();
                self.strike(chosen[world.draw(chosen.len() as u64) as usize]).await;
                next_fault = now + Duration::from_millis(200 + world.draw(pause_max));
            }
            if next_look <= now {
                self.look().await?;
                next_look = world.clock.boot() + Duration::from_secs(20 + world.draw(60));
            }
        }
        Ok(())
    }

    /// Sometimes keeps what the metadata store holds, for a fault that is to come.
    fn back_up(&mut self) {
        if self.around.world.draw(4) == 0 {
            self.backups.truncate(BACKUPS_MAX - 1);
            self.backups.insert(0, self.kv.backup());
        }
    }

    /// Reads amid the faults; what cannot be read now is no violation.
    pub(super) async fn look(&self) -> Result<(), String> {
        self.around.ledger.check()?;
        let _alone = self.running.write().await;
        match self.judge_once(Settled::No).await {
            Err(Verdict::Violated(why)) => Err(why),
            Ok(()) | Err(Verdict::Unread(_)) => Ok(()),
        }
    }

    async fn judge_once(&self, settled: Settled) -> Result<(), Verdict> {
        self.around.world.auditor.note_sealed(self.sealed().await);
        let unread = |why: &str| Verdict::Unread(why.to_owned());
        let door = self.door().ok_or_else(|| unread("no frontend runs"))?;
        let judging = judge(&self.around.world, &door, &self.history, settled);
        let verdict =
            tokio::time::timeout(READ_MAX, judging).await.unwrap_or_else(|_| Err(unread("it takes too long")));
        if let Err(Verdict::Unread(error)) = &verdict {
            self.around.world.note(format_args!("not read: {error}"));
        }
        verdict
    }

    /// Sessions that metasrv holds for ended for good.
    pub(super) async fn sealed(&self) -> Vec<NodeEpoch> {
        let found = self.kv.range(&key::prefix::<SessionKey>()).await.map(|range| range.entries).unwrap_or_default();
        let sessions = found.iter().filter_map(|entry| {
            let session = key::parse::<SessionKey>(&entry.key).ok().flatten()?;
            let record = key::decode(&session, &entry.value).ok()?;
            (record.state == SessionState::Sealed).then_some(session.0)
        });
        sessions.collect()
    }

    /// The check after healing: everything can be read.
    pub(super) async fn judge_healthy(&self) -> Result<(), String> {
        self.around.ledger.check()?;
        let _alone = self.running.write().await;
        let deadline = self.around.world.clock.boot() + RECOVERY_MAX;
        loop {
            match self.judge_once(Settled::Yes).await {
                Ok(()) => return Ok(()),
                Err(Verdict::Violated(why)) => return Err(why),
                Err(Verdict::Unread(error)) if self.around.world.clock.boot() > deadline => {
                    return Err(format!("I20: not everything can be read: {error}"));
                }
                Err(Verdict::Unread(_)) => self.around.world.sleep_millis(1000).await,
            }
        }
    }

    /// I20: every region accepts a write.
    pub(super) async fn probe(&mut self) -> Result<(), String> {
        let deadline = self.around.world.clock.boot() + RECOVERY_MAX;
        let client = self.client(CLIENTS);
        for series in 0..PROBES {
            loop {
                self.probes += 1;
                let door = client.door().ok_or("no frontend runs")?;
                let put = client.put_series(&door, self.probes, series).await;
                let appended = client.append(&door, self.probes).await;
                if (put, appended) == (Fate::Acked, Fate::Acked) {
                    break;
                }
                if self.around.world.clock.boot() > deadline {
                    return Err(format!("I20: no write is accepted: {put:?}, {appended:?}"));
                }
                self.around.world.sleep_millis(500).await;
            }
        }
        Ok(())
    }
}
