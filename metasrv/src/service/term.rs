//! One term of a leader: everything it does between being elected and being deposed.

use std::sync::Arc;
use std::time::Duration;

use varve_model::id::{ClusterId, FrontendId, NodeEpoch, TableId};
use varve_model::name::DEFAULT_DATABASE;
use varve_model::{Error, ErrorKind, Reason, Result};
use varve_proto::call::Call;
use varve_proto::metasrv::{
    Answer, Answers, Beat, BeatReply, Inquiry, Messages, News, Outcome, Procedure, RegionReport, Registration, Session,
    Watcher, not_leader,
};
use varve_service::clock::SharedClock;
use varve_service::task::TaskSet;

use crate::catalog::Feed;
use crate::config::Config;
use crate::heartbeat;
use crate::kv::key::{ClusterKey, ClusterRecord};
use crate::kv::{Change, Records};
use crate::leader::Leadership;
use crate::procedure::{Executor, ExecutorSetup};
use crate::reconcile;
use crate::registry::Registry;
use crate::relay::Relay;

/// How long the first transaction may take.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A leader at work.
#[derive(Debug)]
pub(super) struct Term {
    config: Config,
    cluster: ClusterId,
    executor: Executor,
    relay: Arc<Relay>,
}

impl Term {
    /// Makes what a fresh store needs and resumes what was left. The tasks end with the term.
    ///
    /// Errors: `Corrupt` for damaged records, `Fenced` when another leads already, `Unavailable`.
    pub(super) async fn begin(
        config: Config,
        records: Records,
        leadership: Arc<Leadership>,
        clock: SharedClock,
        tasks: TaskSet,
    ) -> Result<Self> {
        let cluster = cluster(&records, &clock).await?;
        let feed = Feed::start(Arc::clone(records.kv()), Arc::clone(&clock), &tasks).await?;
        let registry = Arc::new(Registry::new((config.lease(), config.beat()), clock.boot(), clock.random()));
        let relay = Relay::new(Arc::clone(&clock));
        let executor = Executor::new(ExecutorSetup { records, feed, registry, clock, tasks, leadership });
        reconcile::resume(&executor).await?;
        let public =
            Procedure::CreateDatabase { name: DEFAULT_DATABASE.to_owned(), ttl: None, regions: 1, if_not_exists: true };
        executor.execute(&Call::system("start", START_TIMEOUT), public).await?;
        Ok(Self { config, cluster, executor, relay })
    }

    pub(super) fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Whether it may answer now.
    pub(super) fn leads(&self, now: Duration) -> bool {
        self.executor.leadership.check(now).is_ok()
    }

    /// Errors: for a caller of another version; for one who asks a leader that may be none any more.
    fn check(&self, call: &Call) -> Result<()> {
        call.check()?;
        self.executor.leadership.check(self.executor.clock.boot())
    }

    pub(super) async fn register(&self, call: &Call, registration: Registration) -> Result<Session> {
        self.check(call)?;
        if let Some(other) = registration.cluster.filter(|cluster| *cluster != self.cluster) {
            return Err(Error::invalid(format!(
                "datanode {} belongs to cluster {other}, this is cluster {}",
                registration.node, self.cluster
            ))
            .with_hint("its data directory or bucket was made by another cluster"));
        }
        let opened = reconcile::open_session(&self.executor, registration).await;
        // The bare error would tell the datanode that its session is over; it is this term that is.
        let epoch = opened.map_err(|error| if is_deposed(&error) { not_leader(None) } else { error })?;
        Ok(Session { cluster: self.cluster, epoch, lease: self.config.lease(), interval: self.config.beat() })
    }

    pub(super) fn heartbeat(
        &self,
        call: &Call,
        session: NodeEpoch,
        beats: Messages<Beat>,
    ) -> Result<Messages<Result<BeatReply>>> {
        self.check(call)?;
        heartbeat::serve(&self.executor, session, beats)
    }

    pub(super) fn watch(&self, call: &Call, watcher: Option<Watcher>) -> Result<Messages<Result<Arc<News>>>> {
        self.check(call)?;
        let news = self.executor.feed.watch();
        match watcher {
            Some(watcher) => self.relay.watch(watcher, news),
            None => Ok(news),
        }
    }

    pub(super) async fn ask(&self, call: &Call, from: FrontendId, inquiry: Inquiry) -> Result<Answers> {
        self.check(call)?;
        Ok(self.relay.ask(from, inquiry, call.timeout).await)
    }

    pub(super) fn answer(&self, call: &Call, from: FrontendId, question: u64, answer: Answer) -> Result<()> {
        self.check(call)?;
        self.relay.answer(from, question, answer);
        Ok(())
    }

    pub(super) async fn execute(&self, call: &Call, procedure: Procedure) -> Result<Outcome> {
        self.check(call)?;
        self.executor.execute(call, procedure).await.map_err(|error| {
            if !is_deposed(&error) {
                return error;
            }
            // Some of it may be written; the next leader finishes what is.
            Error::unavailable("another metasrv took the lead during the change")
                .with_source(error)
                .with_hint("see whether it was made, or make it again")
        })
    }

    pub(super) fn region_statistics(&self, call: &Call, table: Option<TableId>) -> Result<Vec<RegionReport>> {
        self.check(call)?;
        Ok(self.executor.registry.statistics(table, self.executor.clock.boot()))
    }
}

/// Whether a write found another leader.
fn is_deposed(error: &Error) -> bool {
    error.kind() == ErrorKind::Fenced && error.reason() == Reason::NotLeader
}

/// The cluster's identity, made at the first start.
async fn cluster(records: &Records, clock: &SharedClock) -> Result<ClusterId> {
    if let Some(found) = records.get(&ClusterKey).await? {
        return Ok(found.record.id);
    }
    let record = ClusterRecord { id: ClusterId(clock.random()), created_ms: clock.wall_nanos() / 1_000_000 };
    let mut change = Change::default();
    change.expect(&ClusterKey, 0);
    change.put(&ClusterKey, &record)?;
    records.commit(change).await?.ok_or_else(|| Error::unavailable("another metasrv made the cluster meanwhile"))?;
    Ok(record.id)
}
