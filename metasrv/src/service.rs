//! `MetasrvApi` in process: the door of this package.

use std::sync::Arc;

use async_trait::async_trait;
use varve_model::id::{ClusterId, NodeEpoch};
use varve_model::name::DEFAULT_DATABASE;
use varve_model::{Error, Result};
use varve_proto::call::Call;
use varve_proto::metasrv::{Beat, BeatReply, Messages, MetasrvApi, News, Outcome, Procedure, Registration, Session};
use varve_service::clock::SharedClock;
use varve_service::task::TaskSet;

use crate::catalog::Feed;
use crate::config::Config;
use crate::heartbeat;
use crate::kv::key::{ClusterKey, ClusterRecord};
use crate::kv::{Change, KvStore, Records};
use crate::leader;
use crate::procedure::Executor;
use crate::reconcile;
use crate::registry::Registry;

#[cfg(test)]
mod tests;
/// Name of the leader of a store that one process holds.
const LEADER_NAME: &str = "metasrv";

/// The truth about catalog, routes and leases.
#[derive(Debug)]
pub struct Metasrv {
    config: Config,
    cluster: ClusterId,
    executor: Executor,
}

impl Metasrv {
    /// Takes the leadership of the store, makes what a fresh one needs, resumes what was left.
    ///
    /// Errors: `InvalidRequest` for bad settings, `Corrupt` for damaged records, `Unavailable`.
    pub async fn start(config: Config, kv: Arc<dyn KvStore>, clock: SharedClock, tasks: TaskSet) -> Result<Arc<Self>> {
        config.check()?;
        let now_ms = clock.wall_nanos() / 1_000_000;
        let records = leader::seize(Arc::clone(&kv), LEADER_NAME, now_ms).await?;
        let cluster = cluster(&records, &clock, now_ms).await?;
        let feed = Feed::start(kv, Arc::clone(&clock), &tasks).await?;
        let registry = Arc::new(Registry::new(config.lease(), config.beat(), clock.random()));
        let executor = Executor::new(records, feed, registry, clock, tasks);
        reconcile::resume(&executor).await?;
        let metasrv = Self { config, cluster, executor };
        let public =
            Procedure::CreateDatabase { name: DEFAULT_DATABASE.to_owned(), ttl: None, regions: 1, if_not_exists: true };
        metasrv.executor.execute(&Call::system("start", START_TIMEOUT), public).await?;
        Ok(Arc::new(metasrv))
    }

    /// The cluster's identity.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }
}

/// How long the first transaction may take.
const START_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

/// The cluster's identity, made at the first start.
async fn cluster(records: &Records, clock: &SharedClock, now_ms: i64) -> Result<ClusterId> {
    if let Some(found) = records.get(&ClusterKey).await? {
        return Ok(found.record.id);
    }
    let record = ClusterRecord { id: ClusterId(clock.random()), created_ms: now_ms };
    let mut change = Change::default();
    change.expect(&ClusterKey, 0);
    change.put(&ClusterKey, &record)?;
    records.commit(change).await?.ok_or_else(|| Error::unavailable("another metasrv made the cluster meanwhile"))?;
    Ok(record.id)
}

#[async_trait]
impl MetasrvApi for Metasrv {
    async fn register(&self, call: &Call, registration: Registration) -> Result<Session> {
        call.check()?;
        if let Some(other) = registration.cluster.filter(|cluster| *cluster != self.cluster) {
            return Err(Error::invalid(format!(
                "datanode {} belongs to cluster {other}, this is cluster {}",
                registration.node, self.cluster
            ))
            .with_hint("its data directory or bucket was made by another cluster"));
        }
        let epoch = reconcile::open_session(&self.executor, registration).await?;
        Ok(Session { cluster: self.cluster, epoch, lease: self.config.lease(), interval: self.config.beat() })
    }

    async fn heartbeat(
        &self,
        call: &Call,
        session: NodeEpoch,
        beats: Messages<Beat>,
    ) -> Result<Messages<Result<BeatReply>>> {
        call.check()?;
        let Executor { registry, clock, tasks, .. } = &self.executor;
        heartbeat::serve(registry, session, beats, Arc::clone(clock), tasks)
    }

    async fn watch(&self, call: &Call) -> Result<Messages<Result<Arc<News>>>> {
        call.check()?;
        Ok(self.executor.feed.watch())
    }

    #[tracing::instrument(level = "debug", skip_all, fields(request_id = call.request_id))]
    async fn execute(&self, call: &Call, procedure: Procedure) -> Result<Outcome> {
        call.check()?;
        self.executor.execute(call, procedure).await
    }
}
