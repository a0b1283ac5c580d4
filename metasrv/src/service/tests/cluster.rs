//! Members and datanodes of a whole cluster, through `MetasrvMembers` as the roles call them.
//!
//! Time is virtual, the store is in memory, and every datanode beats as the real one does; what it
//! says of orders is the test's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use varve_model::id::{NodeEpoch, NodeId, RegionEpoch, RegionId, VolumeId};
use varve_model::region::Route;
use varve_model::scan::RegionStatistics;
use varve_model::{Error, ErrorKind, Result};
use varve_proto::call::Call;
use varve_proto::grpc::{ConnectMetasrv, MetasrvMembers, Wait};
use varve_proto::metasrv::{Beat, Found, Grant, Life, MetasrvApi, Order, OrderKind, Registration, Report};
use varve_service::clock::{ManualClock, SharedClock};
use varve_service::task::{Blocking, TaskSet};

use crate::kv::memory::Backup;
use crate::kv::{FaultKv, KvStore, MemoryKv};
use crate::{Config, Member, MemberSetup};

/// Members of metasrv on one store.
pub(super) struct Cluster {
    pub(super) clock: SharedClock,
    pub(super) kv: Arc<MemoryKv>,
    pub(super) members: Arc<Mutex<BTreeMap<String, Arc<Member>>>>,
    pub(super) sets: BTreeMap<String, (TaskSet, Arc<FaultKv>)>,
    pub(super) api: Arc<dyn MetasrvApi>,
    /// What the bucket knows: highest epoch of each region, and sealed sessions.
    pub(super) bucket: Arc<Mutex<Bucket>>,
    own: TaskSet,
}

/// What matters here of a bucket.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    pub(super) claimed: BTreeMap<RegionId, RegionEpoch>,
    pub(super) sealed: Vec<NodeEpoch>,
    /// Those that ended without a sealer: by themselves, or with the volume's next holder.
    ended: BTreeSet<NodeEpoch>,
    pub(super) forgotten: Vec<NodeEpoch>,
    pub(super) session_seen: NodeEpoch,
    /// Who claimed each region last.
    owners: BTreeMap<RegionId, NodeEpoch>,
    /// The node of each session, and how long the session may believe itself alive.
    leases: BTreeMap<NodeEpoch, (NodeId, Duration)>,
    /// Metadata came from a backup: metasrv may not know who owns a region.
    pub(super) was_restored: bool,
    /// The last session on each volume.
    volumes: BTreeMap<u128, NodeEpoch>,
    /// Rules that were broken.
    pub(super) violations: Vec<String>,
}

impl Bucket {
    /// A session ends by itself and answers nothing from now on.
    fn end(&mut self, session: NodeEpoch) {
        self.ended.insert(session);
        if let Some((_, until)) = self.leases.get_mut(&session) {
            *until = Duration::ZERO;
        }
    }

    /// What a session says of its regions.
    fn serves(&self, session: NodeEpoch) -> Vec<(RegionId, RegionStatistics)> {
        let owned = self.owners.iter().filter(|(_, owner)| **owner == session).map(|(region, _)| {
            let statistics = RegionStatistics { epoch: self.claimed[region], ..RegionStatistics::default() };
            (*region, RegionStatistics { series: session.0, ..statistics })
        });
        owned.collect()
    }

    /// A session opens a region under a grant. Errors: what is in the way, as the real one says it.
    fn claim(&mut self, grant: &Grant, session: NodeEpoch, now: Duration) -> Result<(), (ErrorKind, Found)> {
        let Grant { region, epoch, .. } = *grant;
        let (head, owner) = (self.claimed.get(&region).copied(), self.owners.get(&region).copied());
        let other = owner.filter(|owner| *owner != session);
        if let Some(head) = head.filter(|head| *head > epoch || (*head == epoch && other.is_some())) {
            if head == epoch && !self.was_restored {
                self.violations.push(format!("I5: {region} has epoch {epoch} at {owner:?} and {session}"));
            }
            return Err((ErrorKind::Fenced, Found::Epoch(head)));
        }
        if let Some(owner) = other {
            if !self.sealed.contains(&owner) && !self.ended.contains(&owner) {
                if !self.was_restored {
                    self.violations.push(format!("{region} was granted to {session} before {owner} was sealed"));
                }
                return Err((ErrorKind::Unavailable, Found::Owner(owner)));
            }
            let (node, until) = self.leases.get(&owner).copied().unwrap_or_default();
            let returned = self.leases.range(owner..).skip(1).any(|(_, (other, _))| *other == node);
            if until > now && !returned {
                self.violations.push(format!("{region} was granted to {session} while {owner} had its lease"));
            }
        }
        self.claimed.insert(region, epoch);
        self.owners.insert(region, session);
        Ok(())
    }
}

impl Cluster {
    pub(super) fn start(count: usize) -> Self {
        Self::start_seeded(count, 1)
    }

    pub(super) fn start_seeded(count: usize, seed: u64) -> Self {
        let clock: SharedClock = Arc::new(ManualClock::new(seed, 1_790_000_000_000_000_000));
        let own = TaskSet::new(Blocking::Inline);
        let kv = MemoryKv::timed(Arc::clone(&clock), &own);
        let members = Arc::<Mutex<BTreeMap<String, Arc<Member>>>>::default();
        let names = (0..count).map(|at| format!("m{at}:1")).collect::<Vec<_>>();
        let known = Arc::clone(&members);
        let connect: ConnectMetasrv = Arc::new(move |address| Ok(Arc::new(Way(address.to_owned(), known.clone()))));
        let pauses = Arc::clone(&clock);
        let wait: Wait = Arc::new(move |pause| pauses.sleep(pause));
        let api = Arc::new(MetasrvMembers::new(names.clone(), connect, wait).expect("members"));
        let mut cluster = Self { clock, kv, members, sets: BTreeMap::new(), api, bucket: Arc::default(), own };
        for name in names {
            cluster.start_member(&name);
        }
        cluster
    }

    pub(super) fn start_member(&mut self, name: &str) {
        let tasks = TaskSet::new(Blocking::Inline);
        let link = Arc::new(FaultKv::new(self.kv.clone(), Arc::clone(&self.clock)));
        let member = Member::start(MemberSetup {
            config: Config::default(),
            name: name.to_owned(),
            address: name.to_owned(),
            kv: link.clone() as Arc<dyn KvStore>,
            clock: Arc::clone(&self.clock),
            tasks: tasks.clone(),
        });
        self.members.lock().insert(name.to_owned(), member.expect("start"));
        self.sets.insert(name.to_owned(), (tasks, link));
    }

    /// `kill -9`; its name.
    pub(super) fn kill_leader(&mut self) -> String {
        let name = self.leader().expect("one leads");
        self.members.lock().remove(&name);
        self.sets.remove(&name).expect("known").0.kill();
        name
    }

    /// Metadata from a backup, while no member runs.
    pub(super) fn restore(&self, backup: &Backup) {
        self.bucket.lock().was_restored = true;
        self.kv.restore(backup);
    }

    pub(super) fn leader(&self) -> Option<String> {
        self.members.lock().iter().find(|(_, member)| member.is_leader()).map(|(name, _)| name.clone())
    }

    pub(super) async fn sleep(&self, seconds: u64) {
        self.clock.sleep(Duration::from_secs(seconds)).await;
    }

    /// Waits until something is so; fails after a minute.
    pub(super) async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let end = self.clock.boot() + Duration::from_mins(1);
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(self.clock.boot() < end, "waited a minute: {what}");
            self.clock.sleep(Duration::from_millis(50)).await;
        }
    }

    /// The routes of the only table.
    pub(super) async fn routes(&self) -> Vec<Route> {
        super::catalog(&self.api, 0).await.tables[0].1.to_vec()
    }

    /// Waits until every region is open at a session that this accepts.
    pub(super) async fn until_open(&self, owner: impl Fn(NodeEpoch) -> bool) -> Vec<Route> {
        self.until("regions are open", async || {
            let routes = self.routes().await;
            let open = |route: &Route| route.state == varve_model::region::RouteState::Open && owner(route.owner);
            routes.iter().all(open).then_some(routes)
        })
        .await
    }

    /// A datanode that registers and beats; without a volume its log is in the bucket.
    pub(super) async fn datanode(&self, node: u64, volume: Option<u128>) -> Datanode {
        self.try_datanode(node, volume).await.expect("register")
    }

    pub(super) async fn try_datanode(&self, node: u64, volume: Option<u128>) -> Result<Datanode> {
        let registration = Registration {
            node: NodeId(node),
            cluster: None,
            address: format!("127.0.0.1:{node}"),
            volume: volume.map(VolumeId),
            seen_epoch: self.bucket.lock().session_seen,
        };
        let call = Call::system("test", Duration::from_secs(20));
        let session = self.api.register(&call, registration).await?;
        let mut bucket = self.bucket.lock();
        assert!(session.epoch > bucket.session_seen, "I13: session {} was there before", session.epoch);
        bucket.session_seen = session.epoch;
        if let Some(volume) = volume {
            let earlier = bucket.volumes.insert(volume, session.epoch);
            bucket.ended.extend(earlier);
        }
        bucket.leases.insert(session.epoch, (NodeId(node), Duration::ZERO));
        drop(bucket);
        let state = Arc::new(Mutex::new(Said::default()));
        let tasks = TaskSet::new(Blocking::Inline);
        let beating = Beating {
            api: Arc::clone(&self.api),
            clock: Arc::clone(&self.clock),
            bucket: Arc::clone(&self.bucket),
            session: session.epoch,
            interval: session.interval,
            said: Arc::clone(&state),
        };
        tasks.spawn("datanode", beating.run());
        Ok(Datanode { session: session.epoch, said: state, tasks })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.own.kill();
        self.sets.values().for_each(|(tasks, _)| tasks.kill());
    }
}

/// The way to a member by its address: a killed one cannot be reached.
#[derive(Debug)]
struct Way(String, Arc<Mutex<BTreeMap<String, Arc<Member>>>>);

impl Way {
    fn member(&self) -> Result<Arc<Member>> {
        let away = || Error::unavailable("connection refused").with_reason(varve_model::Reason::Unreachable);
        self.1.lock().get(&self.0).cloned().ok_or_else(away)
    }
}

#[async_trait::async_trait]
impl MetasrvApi for Way {
    async fn register(&self, call: &Call, registration: Registration) -> Result<super::Session> {
        self.member()?.register(call, registration).await
    }

    async fn heartbeat(
        &self,
        call: &Call,
        session: NodeEpoch,
        beats: super::Messages<Beat>,
    ) -> Result<super::Messages<Result<super::BeatReply>>> {
        self.member()?.heartbeat(call, session, beats).await
    }

    async fn watch(
        &self,
        call: &Call,
        watcher: Option<super::Watcher>,
    ) -> Result<super::Messages<Result<Arc<super::News>>>> {
        self.member()?.watch(call, watcher).await
    }

    async fn execute(&self, call: &Call, procedure: super::Procedure) -> Result<super::Outcome> {
        self.member()?.execute(call, procedure).await
    }

    async fn region_statistics(
        &self,
        call: &Call,
        table: Option<varve_model::id::TableId>,
    ) -> Result<Vec<varve_proto::metasrv::RegionReport>> {
        self.member()?.region_statistics(call, table).await
    }

    async fn ask(
        &self,
        call: &Call,
        from: varve_model::id::FrontendId,
        inquiry: varve_proto::metasrv::Inquiry,
    ) -> Result<varve_proto::metasrv::Answers> {
        self.member()?.ask(call, from, inquiry).await
    }

    async fn answer(
        &self,
        call: &Call,
        from: varve_model::id::FrontendId,
        question: u64,
        answer: varve_proto::metasrv::Answer,
    ) -> Result<()> {
        self.member()?.answer(call, from, question, answer).await
    }
}

/// A datanode without an engine.
pub(super) struct Datanode {
    pub(super) session: NodeEpoch,
    pub(super) said: Arc<Mutex<Said>>,
    tasks: TaskSet,
}

/// What it is told to do, and what it was told.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) life: Life,
    /// Beats and reads nothing.
    pub(super) is_paused: bool,
    /// Carries out no orders of this kind.
    pub(super) deaf_to_open: bool,
    pub(super) deaf_to_seal: bool,
    pub(super) orders: Vec<OrderKind>,
    /// How long it may believe itself alive, on the boot clock.
    pub(super) valid_until: Duration,
    /// Metasrv said that the session is over.
    pub(super) fenced: bool,
}

impl Datanode {
    /// `kill -9`: the stream breaks at once.
    pub(super) fn kill(&self) {
        self.tasks.kill();
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut Said)) {
        change(&mut self.said.lock());
    }

    pub(super) fn count(&self, wanted: impl Fn(&OrderKind) -> bool) -> usize {
        self.said.lock().orders.iter().filter(|kind| wanted(kind)).count()
    }

    pub(super) fn is_fenced(&self) -> bool {
        self.said.lock().fenced
    }
}

impl Drop for Datanode {
    fn drop(&mut self) {
        self.tasks.kill();
    }
}

struct Beating {
    api: Arc<dyn MetasrvApi>,
    clock: SharedClock,
    bucket: Arc<Mutex<Bucket>>,
    session: NodeEpoch,
    interval: Duration,
    said: Arc<Mutex<Said>>,
}

impl Beating {
    async fn run(self) {
        loop {
            if let Err(error) = self.stream().await
                && error.kind() == ErrorKind::Fenced
            {
                self.said.lock().fenced = true;
                return;
            }
            self.clock.sleep(Duration::from_millis(200)).await;
        }
    }

    async fn stream(&self) -> Result<()> {
        let (beats, stream) = mpsc::channel(16);
        let call = Call::system("heartbeat", Duration::from_secs(10));
        let stream = Box::pin(ReceiverStream::new(stream));
        let mut replies = self.api.heartbeat(&call, self.session, stream).await?;
        let mut reports = Vec::new();
        let mut sent = BTreeMap::new();
        for number in 1.. {
            let life = self.said.lock().life;
            if life == Life::Sealed {
                self.bucket.lock().end(self.session);
            }
            let owned = self.bucket.lock().serves(self.session);
            sent.insert(number, self.clock.boot());
            let beat = Beat { number, life, reports: std::mem::take(&mut reports), regions: owned };
            beats.send(beat).await.map_err(|_| Error::unavailable("closed"))?;
            let next = self.clock.sleep(self.interval);
            tokio::pin!(next);
            while reports.is_empty() {
                let reply = tokio::select! {
                    reply = replies.next() => reply.ok_or_else(|| Error::unavailable("ended"))??,
                    () = &mut next => break,
                };
                while self.said.lock().is_paused {
                    self.clock.sleep(Duration::from_millis(100)).await;
                }
                if let Some(at) = reply.beat.and_then(|beat| sent.remove(&beat)) {
                    let until = at + Config::default().lease();
                    self.said.lock().valid_until = until;
                    if let Some((_, lease)) = self.bucket.lock().leases.get_mut(&self.session) {
                        *lease = until;
                    }
                }
                reports.extend(reply.orders.into_iter().filter_map(|order| self.carry_out(order)));
            }
            while self.said.lock().is_paused {
                self.clock.sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    fn carry_out(&self, order: Order) -> Option<Report> {
        let mut said = self.said.lock();
        let mut bucket = self.bucket.lock();
        let mut found = None;
        let outcome = match &order.kind {
            OrderKind::Open(_) if said.deaf_to_open => return None,
            OrderKind::Seal(_) if said.deaf_to_seal => return None,
            OrderKind::Open(grant) => bucket.claim(grant, self.session, self.clock.boot()).map_err(|(kind, what)| {
                found = Some(what);
                Arc::new(Error::new(kind, "the bucket knows better"))
            }),
            OrderKind::Seal(session) => {
                bucket.sealed.push(*session);
                Ok(())
            }
            OrderKind::Forget(session) => {
                bucket.forgotten.push(*session);
                Ok(())
            }
            _ => Ok(()),
        };
        said.orders.push(order.kind);
        Some(Report { order: order.id, outcome, found })
    }
}
