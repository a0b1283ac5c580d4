//! Whole clusters: metasrvs on one store, datanodes on one bucket, frontends, and a network between them.

mod clock;
mod fault;
mod ledger;
mod machine;
mod network;
mod reader;
mod remote;
mod run;
pub(crate) mod scenario;
mod unguarded;
mod watch;
mod way;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use varve_datanode::Datanode;
use varve_metasrv::kv::{FaultKv, MemoryKv};
use varve_metasrv::{Config, Member};
use varve_service::clock::SharedClock;

use crate::node::Sizes;
use crate::workload::Doors;
use crate::world::World;
use clock::MachineClock;
use ledger::Ledger;
use machine::{Machine, Role};
use network::{Network, Peer, Slot};
use unguarded::Unguarded;
use watch::Watch;
use way::Way;

pub(crate) use run::run_seed;

/// How many kinds of faults there are.
pub(crate) const FAULT_KINDS: usize = fault::FAULTS.len();

/// How a cluster looks, and its sizes.
#[derive(Clone, Copy, Debug)]
struct Shape {
    metasrvs: u64,
    datanodes: u64,
    frontends: u64,
    lease_ms: u64,
    leader_lease_ms: u64,
    sizes: Sizes,
    linger: Duration,
    cut_bytes: usize,
    lanes: u8,
}

impl Shape {
    fn draw(world: &World) -> Self {
        let draw = |bound| world.draw(bound);
        Self {
            lease_ms: 1000 + draw(2001),
            metasrvs: 1 + draw(3),
            datanodes: 2 + draw(2),
            leader_lease_ms: 2000 + 1000 * draw(2),
            sizes: Sizes::draw(world),
            linger: Duration::from_millis(1 + draw(300)),
            cut_bytes: 1024 << draw(8),
            lanes: 1 + draw(4) as u8,
            frontends: 1 + draw(2),
        }
    }

    /// What a scenario needs: the smallest cluster that can fail over, quick and with tiny files.
    const SCENARIO: Self = Self {
        metasrvs: 1,
        datanodes: 2,
        frontends: 1,
        lease_ms: 3000,
        leader_lease_ms: 2000,
        sizes: Sizes { flush_bytes: 1, segment_bytes: 16_384, checkpoint_every: 4, sync_latency_ms: 1 },
        linger: Duration::from_millis(1),
        cut_bytes: 1024,
        lanes: 1,
    };
}

/// What all processes of a cluster share.
#[derive(Debug)]
struct Surroundings {
    world: Arc<World>,
    network: Arc<Network>,
    ledger: Arc<Ledger>,
    watch: Arc<Watch>,
    doors: Doors,
    metasrvs: Vec<(Peer, Slot<Member>)>,
    datanodes: Vec<(Peer, Slot<Datanode>)>,
    shape: Shape,
    config: Config,
    lives: AtomicU64,
}

impl Surroundings {
    fn new(world: &Arc<World>, shape: Shape) -> Arc<Self> {
        world.note(format_args!("{shape:?}"));
        let ledger: Arc<Ledger> = Arc::default();
        Arc::new(Self {
            network: Network::new(world.clock.clone()),
            watch: Watch::new(Arc::clone(world.objects()), world.clock.clone(), Arc::clone(&ledger)),
            ledger,
            doors: Doors::default(),
            metasrvs: (0..shape.metasrvs).map(|number| (Peer::Metasrv(number), Slot::default())).collect(),
            datanodes: (1..=shape.datanodes).map(|number| (Peer::Datanode(number), Slot::default())).collect(),
            config: Config {
                lease_ms: shape.lease_ms,
                beat_ms: shape.lease_ms / 4,
                leader_lease_ms: shape.leader_lease_ms,
                ..Config::default()
            },
            shape,
            lives: AtomicU64::new(0),
            world: Arc::clone(world),
        })
    }

    fn next_life(&self) -> u64 {
        self.lives.fetch_add(1, Ordering::Relaxed)
    }

    /// The machines, with nothing on them yet.
    fn machines(&self, kv: &Arc<MemoryKv>) -> Vec<Machine> {
        let world = &self.world;
        let machine = |peer, role: &dyn Fn(SharedClock) -> Role| {
            let clock = Arc::new(MachineClock::draw(world.clock.clone()));
            Machine { peer, role: role(clock.clone()), clock, tasks: None, is_paused: false }
        };
        let mut machines = Vec::new();
        for (peer, slot) in &self.metasrvs {
            machines.push(machine(*peer, &|clock| Role::Metasrv {
                slot: Arc::clone(slot),
                kv: Arc::new(FaultKv::new(Arc::new(Unguarded(kv.clone())), clock)),
            }));
        }
        for (number, (peer, slot)) in (1..).zip(&self.datanodes) {
            let way = Way::new(Arc::clone(world.objects()), number, Arc::clone(&self.watch));
            machines.push(machine(*peer, &|_| Role::Datanode {
                slot: Arc::clone(slot),
                bucket: world.faulty(Arc::new(way.clone())),
                way: way.clone(),
            }));
        }
        for number in 0..self.shape.frontends {
            machines.push(machine(Peer::Frontend(number), &|_| Role::Frontend { door: None }));
        }
        machines
    }
}
