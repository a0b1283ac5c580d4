//! The processes of a cluster: what starts them, and what their next life keeps.

use std::sync::Arc;
use std::time::Duration;

use varve_datanode::{Datanode, DatanodeConfig, DatanodeSetup, Storage};
use varve_engine::Log;
use varve_engine::store::fault::FaultStore;
use varve_frontend::{Connect, FrontendConfig, FrontendSetup};
use varve_metasrv::kv::FaultKv;
use varve_metasrv::{Member, MemberSetup};
use varve_model::budget::Account;
use varve_model::id::NodeId;
use varve_model::{Error, ErrorKind, Result};
use varve_proto::datanode::DatanodeApi;
use varve_proto::grpc::MetasrvMembers;
use varve_proto::metasrv::MetasrvApi;
use varve_service::clock::SharedClock;
use varve_service::task::{Blocking, TaskSet};

use super::Surroundings;
use super::clock::MachineClock;
use super::network::{Link, Peer, Running, Slot};
use super::remote::{RemoteDatanode, RemoteMetasrv};
use super::way::Way;
use crate::door::Door;
use crate::node::kill;

/// Pause before a datanode that could not begin a session tries again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How often a datanode looks for something to flush: often, so that its log is trimmed while others act on it.
const TICK: Duration = Duration::from_millis(50);
/// Memory of a process.
const MEMORY_BYTES: u64 = 256 << 20;

/// A machine and the process on it, if one runs.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) peer: Peer,
    pub(crate) clock: Arc<MachineClock>,
    pub(crate) tasks: Option<TaskSet>,
    pub(crate) is_paused: bool,
    pub(crate) role: Role,
}

/// What runs on a machine, with what outlives the process.
#[derive(Debug)]
pub(crate) enum Role {
    Metasrv { slot: Slot<Member>, kv: Arc<FaultKv> },
    Datanode { slot: Slot<Datanode>, bucket: FaultStore, way: Way },
    Frontend { door: Option<Arc<Door>> },
}

impl Machine {
    /// Starts the process, unless it runs.
    pub(crate) fn start(&mut self, around: &Arc<Surroundings>) -> Result<()> {
        if self.tasks.is_some() {
            return Ok(());
        }
        let tasks = TaskSet::new(Blocking::Inline);
        self.tasks = Some(tasks.clone());
        let (clock, peer): (SharedClock, _) = (self.clock.clone(), self.peer);
        around.world.note(format_args!("{peer} starts"));
        match &mut self.role {
            Role::Metasrv { slot, kv } => {
                let member = Member::start(MemberSetup {
                    config: around.config.clone(),
                    name: peer.to_string(),
                    address: peer.to_string(),
                    kv: kv.clone(),
                    clock,
                    tasks: tasks.clone(),
                })?;
                *slot.lock() = Some(Running { tasks, service: member, life: around.next_life() });
            }
            Role::Datanode { slot, bucket, .. } => {
                let process = DatanodeProcess {
                    peer,
                    around: Arc::clone(around),
                    clock,
                    tasks: tasks.clone(),
                    slot: Arc::clone(slot),
                    bucket: bucket.clone(),
                };
                tasks.spawn("datanode", process.run());
            }
            Role::Frontend { door } => {
                let metasrv = around.members(peer, &clock, &tasks)?;
                let connect = around.connect(peer);
                let frontend = varve_frontend::start(FrontendSetup {
                    metasrv: Arc::clone(&metasrv),
                    connect: Arc::clone(&connect),
                    clock,
                    tasks: tasks.clone(),
                    memory: Account::root("frontend", MEMORY_BYTES),
                    config: FrontendConfig { query_partitions: 1, ..FrontendConfig::default() },
                })?;
                let opened = Arc::new(Door { tasks, frontend, metasrv, connect });
                around.doors.lock().push(Arc::clone(&opened));
                *door = Some(opened);
            }
        }
        Ok(())
    }

    /// Ends the process where it stands.
    pub(crate) async fn kill(&mut self, around: &Surroundings) {
        let Some(tasks) = self.tasks.take() else {
            return;
        };
        around.world.note(format_args!("{} is killed", self.peer));
        self.is_paused = false;
        around.network.set_paused(self.peer, false);
        match &mut self.role {
            Role::Metasrv { slot, .. } => *slot.lock() = None,
            Role::Datanode { slot, .. } => *slot.lock() = None,
            Role::Frontend { door } => {
                if let Some(gone) = door.take() {
                    around.doors.lock().retain(|door| !Arc::ptr_eq(door, &gone));
                }
            }
        }
        kill(&tasks).await;
    }

    /// Stops polling it, or goes on.
    pub(crate) fn set_paused(&mut self, around: &Surroundings, paused: bool) {
        let Some(tasks) = &self.tasks else { return };
        if self.is_paused == paused {
            return;
        }
        around.world.note(format_args!("{} {}", self.peer, if paused { "is paused" } else { "goes on" }));
        self.is_paused = paused;
        around.network.set_paused(self.peer, paused);
        if paused {
            tasks.pause();
        } else {
            tasks.resume();
        }
    }
}

/// `varve datanode`: sessions one after another.
struct DatanodeProcess {
    peer: Peer,
    around: Arc<Surroundings>,
    clock: SharedClock,
    tasks: TaskSet,
    slot: Slot<Datanode>,
    bucket: FaultStore,
}

impl DatanodeProcess {
    async fn run(self) {
        loop {
            let own = self.tasks.child();
            let ended = self.session(&own).await;
            *self.slot.lock() = None;
            own.kill();
            match ended {
                Ok(why) => self.around.world.note(format_args!("{}: its session is over: {why}", self.peer)),
                Err(error) => {
                    self.around.world.note(format_args!("{}: no session: {error}", self.peer));
                    if !may_succeed_later(&error) {
                        self.around.ledger.violated(format!("I20: {} gives up: {error}", self.peer));
                        return;
                    }
                    self.clock.sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    async fn session(&self, own: &TaskSet) -> Result<String> {
        let Peer::Datanode(number) = self.peer else {
            return Err(Error::internal("not a datanode"));
        };
        let shape = self.around.shape;
        let storage = Storage::custom(Arc::new(self.bucket.clone()), Log::Object, move |options| {
            shape.sizes.tune(options);
            options.tick = TICK;
            options.object.linger = shape.linger;
            options.object.cut_bytes = shape.cut_bytes;
            options.object.lanes = shape.lanes;
        });
        let datanode = varve_datanode::start(DatanodeSetup {
            config: DatanodeConfig { query_partitions: 1, ..DatanodeConfig::default() },
            node: NodeId(number),
            address: self.peer.to_string(),
            metasrv: self.around.members(self.peer, &self.clock, own)?,
            connect: self.around.connect(self.peer),
            storage,
            clock: self.clock.clone(),
            tasks: own.clone(),
            memory: Account::root("memtables", MEMORY_BYTES),
            queries: Account::root("queries", MEMORY_BYTES),
        })
        .await?;
        let life = self.around.next_life();
        self.around.world.note(format_args!("{} begins session life {life}", self.peer));
        *self.slot.lock() = Some(Running { tasks: own.clone(), service: Arc::clone(&datanode), life });
        Ok(datanode.ended().await)
    }
}

/// As `varve datanode` judges it.
fn may_succeed_later(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Busy | ErrorKind::Timeout | ErrorKind::Fenced)
}

impl Surroundings {
    /// All members of metasrv, as a process reaches them.
    pub(super) fn members(
        self: &Arc<Self>,
        from: Peer,
        clock: &SharedClock,
        tasks: &TaskSet,
    ) -> Result<Arc<dyn MetasrvApi>> {
        let (around, tasks, clock) = (Arc::clone(self), tasks.clone(), clock.clone());
        let mut names = self.metasrvs.iter().map(|(peer, _)| peer.to_string()).collect::<Vec<_>>();
        let first = self.world.draw(names.len() as u64) as usize;
        names.rotate_left(first);
        let connect = move |address: &str| {
            let found = around.metasrvs.iter().find(|(peer, _)| peer.to_string() == address);
            let (to, slot) = found.ok_or_else(|| Error::internal(format!("no metasrv is at {address}")))?;
            let link = Link { network: Arc::clone(&around.network), from, to: *to };
            let ledger = Arc::clone(&around.ledger);
            let remote = RemoteMetasrv { link, tasks: tasks.clone(), slot: Arc::clone(slot), ledger };
            Ok(Arc::new(remote) as Arc<dyn MetasrvApi>)
        };
        let wait = Arc::new(move |duration| clock.sleep(duration));
        Ok(Arc::new(MetasrvMembers::new(names, Arc::new(connect), wait)?))
    }

    /// Datanodes by their number, as a process reaches them.
    fn connect(self: &Arc<Self>, from: Peer) -> Connect {
        let around = Arc::clone(self);
        Arc::new(move |node, _| around.datanode(from, node.0, Duration::ZERO))
    }

    /// A datanode as a process reaches it that takes up to `pace` before it reads what it scans.
    pub(super) fn datanode(&self, from: Peer, number: u64, pace: Duration) -> Result<Arc<dyn DatanodeApi>> {
        let to = Peer::Datanode(number);
        let found = self.datanodes.iter().find(|(peer, _)| *peer == to);
        let (_, slot) = found.ok_or_else(|| Error::internal(format!("there is no datanode {number}")))?;
        let link = Link { network: Arc::clone(&self.network), from, to };
        let ledger = Arc::clone(&self.ledger);
        Ok(Arc::new(RemoteDatanode { link, slot: Arc::clone(slot), ledger, pace }))
    }
}
