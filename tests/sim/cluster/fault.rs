//! What happens to a cluster, and what ends it again.

use std::time::Duration;

use varve_engine::store::fault::FaultRates;
use varve_metasrv::kv::fault::KvFaults;
use varve_metasrv::kv::memory::Backup;

use super::machine::Role;
use super::network::{Peer, Weather};
use super::run::Run;

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Kill,
    KillDatanode,
    KillAll,
    Pause,
    PauseDatanode,
    Partition,
    OneWayCut,
    Weather,
    Depose,
    WatchGap,
    BadStore,
    CutStore,
    BucketErrors,
    BucketCut,
    SlowClock,
    RestoreBackup,
}

/// All of them; a seed draws which ones it has.
pub(crate) const FAULTS: [Fault; 16] = [
    Fault::Kill,
    Fault::KillDatanode,
    Fault::KillAll,
    Fault::Pause,
    Fault::PauseDatanode,
    Fault::Partition,
    Fault::OneWayCut,
    Fault::Weather,
    Fault::Depose,
    Fault::WatchGap,
    Fault::BadStore,
    Fault::CutStore,
    Fault::BucketErrors,
    Fault::BucketCut,
    Fault::SlowClock,
    Fault::RestoreBackup,
];

/// What ends a fault.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Relief {
    Start(usize),
    Resume(usize),
    Mend,
    Calm,
    Store(usize),
    Bucket(usize),
    Clock(usize),
}

impl Fault {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::KillDatanode => "kill of a datanode",
            Self::KillAll => "kill of all",
            Self::Pause => "pause",
            Self::PauseDatanode => "pause of a datanode",
            Self::Partition => "partition",
            Self::OneWayCut => "one-way cut",
            Self::Weather => "message loss",
            Self::Depose => "leader deposed",
            Self::WatchGap => "watch gap",
            Self::BadStore => "bad metadata store",
            Self::CutStore => "cut from the metadata store",
            Self::BucketErrors => "bucket errors",
            Self::BucketCut => "cut from the bucket",
            Self::SlowClock => "slow clock",
            Self::RestoreBackup => "metadata from a backup",
        }
    }
}

impl Run {
    fn any(&self, which: impl Fn(&Role) -> bool) -> usize {
        let fitting = (0..self.machines.len()).filter(|at| which(&self.machines[*at].role)).collect::<Vec<_>>();
        fitting[self.around.world.draw(fitting.len() as u64) as usize]
    }

    fn any_datanode(&self) -> usize {
        self.any(|role| matches!(role, Role::Datanode { .. }))
    }

    fn any_metasrv(&self) -> usize {
        self.any(|role| matches!(role, Role::Metasrv { .. }))
    }

    fn two_peers(&self) -> (Peer, Peer) {
        let draw = || self.around.world.draw(self.machines.len() as u64) as usize;
        let first = draw();
        let second =
            (first + 1 + self.around.world.draw(self.machines.len() as u64 - 1) as usize) % self.machines.len();
        (self.machines[first].peer, self.machines[second].peer)
    }

    /// Does it.
    #[allow(clippy::too_many_lines, reason = "a table: one arm per fault")]
    pub(crate) async fn strike(&mut self, fault: Fault) {
        let world = self.around.world.clone();
        world.note(fault.name());
        *self.faults.entry(fault.name()).or_default() += 1;
        let draw = |bound: u64| world.draw(bound);
        match fault {
            Fault::Kill | Fault::KillDatanode => {
                let any = self.any(|_| true);
                let at = if fault == Fault::Kill { any } else { self.any_datanode() };
                self.machines[at].kill(&self.around).await;
                self.later(100 + draw(15_000), Relief::Start(at));
            }
            Fault::KillAll => {
                for at in 0..self.machines.len() {
                    self.machines[at].kill(&self.around).await;
                    self.later(100 + draw(3_000), Relief::Start(at));
                }
            }
            Fault::Pause | Fault::PauseDatanode => {
                let any = self.any(|_| true);
                let at = if fault == Fault::Pause { any } else { self.any_datanode() };
                self.machines[at].set_paused(&self.around, true);
                let longest = if draw(3) == 0 { 60_000 } else { 8_000 };
                self.later(200 + draw(longest), Relief::Resume(at));
            }
            Fault::Partition | Fault::OneWayCut => {
                let (from, to) = self.two_peers();
                world.note(format_args!("between {from} and {to}"));
                self.around.network.cut(from, to);
                if fault == Fault::Partition {
                    self.around.network.cut(to, from);
                }
                self.later(500 + draw(20_000), Relief::Mend);
            }
            Fault::Weather => {
                self.around.network.set_weather(Weather {
                    delay_max: Duration::from_millis(draw(1500)),
                    lost_requests: draw(60),
                    lost_replies: draw(60),
                    broken_streams: draw(30),
                });
                self.later(1_000 + draw(30_000), Relief::Calm);
            }
            Fault::Depose => self.kv.depose(),
            Fault::WatchGap => {
                self.kv.end_watches();
                self.kv.compact();
            }
            Fault::SlowClock => self.slow_a_clock(),
            Fault::RestoreBackup => {
                if self.backups.is_empty() {
                    return;
                }
                let backup = self.backups[draw(self.backups.len() as u64) as usize].clone();
                for at in self.restore(&backup).await {
                    self.later(100 + draw(3_000), Relief::Start(at));
                }
            }
            Fault::BadStore | Fault::CutStore => {
                let at = self.any_metasrv();
                let Role::Metasrv { kv, .. } = &self.machines[at].role else {
                    return;
                };
                kv.set(KvFaults {
                    is_cut: fault == Fault::CutStore,
                    delay_max: Duration::from_millis(draw(400)),
                    lost_requests: draw(40) as u32,
                    lost_replies: draw(40) as u32,
                });
                self.later(500 + draw(15_000), Relief::Store(at));
            }
            Fault::BucketErrors | Fault::BucketCut => {
                let at = self.any_datanode();
                let Role::Datanode { bucket, .. } = &self.machines[at].role else {
                    return;
                };
                let is_cut = fault == Fault::BucketCut;
                bucket.set_rates(FaultRates {
                    error_before: if is_cut { 900 } else { draw(100) as u32 },
                    error_after: draw(100) as u32,
                    late_effect: if is_cut { 0 } else { draw(100) as u32 },
                    conflict: if is_cut { 0 } else { draw(60) as u32 },
                    latency_max: Duration::from_millis(draw(800)),
                    late_max: Duration::from_secs(1 + draw(20)),
                });
                self.later(1_000 + draw(20_000), Relief::Bucket(at));
            }
        }
    }

    /// Ends all metasrvs and gives their store what it held once; the machines to start again.
    pub(crate) async fn restore(&mut self, backup: &Backup) -> Vec<usize> {
        let metasrvs = (0..self.machines.len()).filter(|at| matches!(self.machines[*at].role, Role::Metasrv { .. }));
        let metasrvs = metasrvs.collect::<Vec<_>>();
        for at in &metasrvs {
            self.machines[*at].kill(&self.around).await;
        }
        self.kv.restore(backup);
        self.around.ledger.metadata_restored();
        metasrvs
    }

    /// A datanode believes in its lease long after it is over. Half of the time it hears nothing of metasrv
    /// either, and those who shall end its session are slow: a zombie that writes on while it is sealed.
    fn slow_a_clock(&mut self) {
        let world = self.around.world.clone();
        let at = self.any_datanode();
        let zombie = self.machines[at].peer;
        let times = 2 + world.draw(if world.draw(3) == 0 { 30 } else { 6 }) as i64;
        self.machines[at].clock.slow_down(times);
        world.note(format_args!("of {zombie}, {times} times"));
        let millis = 3_000 + world.draw(20_000);
        self.later(millis, Relief::Clock(at));
        if world.draw(2) == 0 {
            return;
        }
        for (metasrv, _) in &self.around.metasrvs {
            self.around.network.cut(*metasrv, zombie);
            self.around.network.cut(zombie, *metasrv);
        }
        self.later(millis, Relief::Mend);
        let latency_max = Duration::from_millis(500 + world.draw(3_000));
        for other in (0..self.machines.len()).filter(|other| *other != at) {
            if let Role::Datanode { bucket, .. } = &self.machines[other].role {
                bucket.set_rates(FaultRates { latency_max, ..FaultRates::default() });
                self.due.push((world.clock.boot() + Duration::from_millis(millis), Relief::Bucket(other)));
            }
        }
    }

    fn later(&mut self, millis: u64, relief: Relief) {
        self.due.push((self.around.world.clock.boot() + Duration::from_millis(millis), relief));
    }

    /// Ends a fault.
    pub(crate) fn relieve(&mut self, relief: Relief) -> Result<(), String> {
        let quick = FaultRates { latency_max: Duration::from_millis(20), ..FaultRates::default() };
        match relief {
            Relief::Start(at) => return self.start(at),
            Relief::Resume(at) => self.machines[at].set_paused(&self.around, false),
            Relief::Mend => self.around.network.mend(),
            Relief::Calm => self.around.network.set_weather(calm()),
            Relief::Store(at) => {
                if let Role::Metasrv { kv, .. } = &self.machines[at].role {
                    kv.set(KvFaults::default());
                }
            }
            Relief::Clock(at) => self.machines[at].clock.slow_down(1),
            Relief::Bucket(at) => {
                if let Role::Datanode { bucket, .. } = &self.machines[at].role {
                    bucket.set_rates(quick);
                }
            }
        }
        Ok(())
    }

    /// Ends all faults.
    pub(crate) fn heal(&mut self) -> Result<(), String> {
        self.due.clear();
        for at in 0..self.machines.len() {
            for relief in
                [Relief::Resume(at), Relief::Start(at), Relief::Store(at), Relief::Bucket(at), Relief::Clock(at)]
            {
                self.relieve(relief)?;
            }
        }
        self.relieve(Relief::Mend)?;
        self.relieve(Relief::Calm)
    }
}

/// A good network.
fn calm() -> Weather {
    Weather { delay_max: Duration::from_millis(4), ..Weather::default() }
}
