//! Whole clusters: metasrvs on one store, datanodes on one bucket, frontends, and a network between them.

mod clock;
mod fault;
mod ledger;
mod machine;
mod network;
mod remote;
mod run;

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

pub(crate) use run::run_seed;

/// How many kinds of faults there are.
pub(crate) const FAULT_KINDS: usize = fault::FAULTS.len();

/// What all processes of a cluster share.
#[derive(Debug)]
struct Surroundings {
    world: Arc<World>,
    network: Arc<Network>,
    ledger: Arc<Ledger>,
    doors: Doors,
    metasrvs: Vec<(Peer, Slot<Member>)>,
    datanodes: Vec<(Peer, Slot<Datanode>)>,
    config: Config,
    sizes: Sizes,
    linger: Duration,
    cut_bytes: usize,
    lanes: u8,
    lives: AtomicU64,
}

impl Surroundings {
    /// Draws a cluster's shape and sizes.
    fn draw(world: &Arc<World>) -> Arc<Self> {
        let draw = |bound| world.draw(bound);
        let lease_ms = 1000 + draw(2001);
        let around = Self {
            network: Network::new(world.clock.clone()),
            ledger: Arc::default(),
            doors: Doors::default(),
            metasrvs: (0..=draw(3)).map(|number| (Peer::Metasrv(number), Slot::default())).collect(),
            datanodes: (1..3 + draw(2)).map(|number| (Peer::Datanode(number), Slot::default())).collect(),
            config: Config {
                lease_ms,
                beat_ms: lease_ms / 4,
                leader_lease_ms: 2000 + 1000 * draw(2),
                ..Config::default()
            },
            sizes: Sizes::draw(world),
            linger: Duration::from_millis(1 + draw(300)),
            cut_bytes: 1024 << draw(8),
            lanes: 1 + draw(4) as u8,
            lives: AtomicU64::new(0),
            world: Arc::clone(world),
        };
        world.note(format_args!(
            "{} metasrvs, {} datanodes, lease {lease_ms} ms, linger {:?}, cut {}, {} lanes, {:?}",
            around.metasrvs.len(),
            around.datanodes.len(),
            around.linger,
            around.cut_bytes,
            around.lanes,
            around.sizes
        ));
        Arc::new(around)
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
                kv: Arc::new(FaultKv::new(kv.clone(), clock)),
            }));
        }
        for (peer, slot) in &self.datanodes {
            machines.push(machine(*peer, &|_| Role::Datanode {
                slot: Arc::clone(slot),
                bucket: world.way_to_the_bucket(),
            }));
        }
        for number in 0..=world.draw(2) {
            machines.push(machine(Peer::Frontend(number), &|_| Role::Frontend { door: None }));
        }
        machines
    }
}
