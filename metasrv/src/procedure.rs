//! Changes that metasrv carries through: recorded first, resumed after a crash.
//!
//! A change of one record is one transaction. A change that regions must learn
//! is put as a procedure record in the transaction that begins it and removed
//! in the one that ends it; everything between is idempotent. Work runs as a
//! task of its own, so that a client that goes away leaves nothing half done;
//! what fails half done is taken up again by reconcile, from its record.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use varve_model::id::{NodeEpoch, RegionId, TableId};
use varve_model::{Error, ErrorKind, Result};
use varve_proto::call::Call;
use varve_proto::metasrv::{Outcome, Procedure, TableChange};
use varve_service::clock::SharedClock;
use varve_service::task::TaskSet;

use crate::catalog::Feed;
use crate::kv::Records;
use crate::kv::key::{ProcedureKey, ProcedureRecord, Work};
use crate::leader::Leadership;
use crate::registry::Registry;
use crate::route::Routes;

mod alter;
mod create;
mod database;
mod drop;
mod locks;
mod open;
pub(crate) mod region;

use locks::Locks;

/// Times a transaction is tried again when another one came between.
const TRIES_MAX: usize = 64;

/// Runs procedures. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Executor {
    pub(crate) records: Records,
    pub(crate) feed: Arc<Feed>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) clock: SharedClock,
    pub(crate) tasks: TaskSet,
    pub(crate) leadership: Arc<Leadership>,
    locks: Arc<Locks>,
    jobs: Arc<Mutex<BTreeMap<Job, usize>>>,
}

/// Work in the background that follows from records, and how to see that it runs already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Job {
    /// Opens regions of a table.
    Open(TableId),
    /// Grants regions of a table to their owners again.
    Regrant(TableId),
    /// Carries a recorded procedure to its end.
    Procedure(ProcedureKey),
    /// Seals a session and gives its regions to others.
    FailOver(NodeEpoch),
    /// Takes over the regions of earlier sessions on a session's volume.
    TakeOver(NodeEpoch),
    /// Deletes what a sealed session left.
    Forget(NodeEpoch),
}

/// What an executor is made of.
#[derive(Debug)]
pub(crate) struct ExecutorSetup {
    pub(crate) records: Records,
    pub(crate) feed: Arc<Feed>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) clock: SharedClock,
    pub(crate) tasks: TaskSet,
    pub(crate) leadership: Arc<Leadership>,
}

/// What a procedure waits for, to tell a client whose time is up.
#[derive(Clone, Debug, Default)]
struct Progress(Arc<Mutex<String>>);

impl Progress {
    fn set(&self, text: impl Into<String>) {
        *self.0.lock() = text.into();
    }

    /// Waiting for one region, and why, if it failed before.
    fn region(&self, region: RegionId, error: Option<&Error>) {
        self.set(match error {
            Some(error) => format!("region {region} failed: {error}"),
            None => format!("region {region} has not reported"),
        });
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.lock())
    }
}

impl Executor {
    /// An executor of one term.
    pub(crate) fn new(setup: ExecutorSetup) -> Self {
        let ExecutorSetup { records, feed, registry, clock, tasks, leadership } = setup;
        let routes = Arc::new(Routes::new(records.clone()));
        let (locks, jobs) = (Arc::default(), Arc::default());
        Self { records, feed, registry, routes, clock, tasks, leadership, locks, jobs }
    }

    /// Whether such work runs now.
    pub(crate) fn works_on(&self, job: Job) -> bool {
        self.jobs.lock().contains_key(&job)
    }

    /// Starts work, beside others of the same job. When it fails, reconcile starts it again.
    pub(crate) fn work(&self, job: Job, work: impl Future<Output = Result<()>> + Send + 'static) {
        *self.jobs.lock().entry(job).or_default() += 1;
        let (jobs, token) = (Arc::clone(&self.jobs), self.tasks.token().clone());
        self.tasks.spawn("job", async move {
            let ended = tokio::select! {
                ended = work => ended,
                () = token.cancelled() => Ok(()),
            };
            match ended {
                Ok(()) => {}
                // The next leader does it.
                Err(error) if error.kind() == ErrorKind::Fenced => tracing::info!(?job, %error, "work was left"),
                Err(error) => tracing::warn!(?job, %error, "work failed and is taken up again"),
            }
            let mut jobs = jobs.lock();
            if let Some(count) = jobs.get_mut(&job) {
                *count -= 1;
                if *count == 0 {
                    jobs.remove(&job);
                }
            }
        });
    }

    /// Runs a procedure until its end or the call's. Errors: those of the procedure; `Timeout`
    /// when the call ends first, while the procedure goes on.
    pub(crate) async fn execute(&self, call: &Call, procedure: Procedure) -> Result<Outcome> {
        let progress = Progress::default();
        let (executor, request_id, shown) = (self.clone(), call.request_id.clone(), progress.clone());
        let work = async move { executor.run(procedure, request_id, shown).await };
        let task = self.tasks.spawn("procedure", work);
        match tokio::time::timeout(call.timeout, task).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Err(Error::unavailable("the procedure was interrupted").with_source(error)),
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                format!("the change is not finished in time and goes on: {progress}"),
            )),
        }
    }

    async fn run(&self, procedure: Procedure, request_id: String, progress: Progress) -> Result<Outcome> {
        progress.set("the metadata store has not answered");
        match procedure {
            Procedure::CreateDatabase { name, ttl, regions, if_not_exists } => {
                self.create_database(name, ttl, regions, if_not_exists).await
            }
            Procedure::AlterDatabase { name, ttl } => self.alter_database(&name, ttl, request_id, &progress).await,
            Procedure::DropDatabase { name, if_exists } => {
                self.drop_database(&name, if_exists, request_id, &progress).await
            }
            Procedure::CreateTable(request) => self.create_table(request, &progress).await,
            Procedure::AlterTable { table, change: TableChange::Widen(columns) } => {
                self.alter_table(&table, TableChange::Widen(columns), request_id, &progress).await
            }
            Procedure::AlterTable { table, change } => self.alter_table(&table, change, request_id, &progress).await,
            Procedure::DropTable { table, if_exists } => {
                self.drop_table(&table, if_exists, request_id, &progress).await
            }
            Procedure::EachRegion { table, action } => self.each_region(&table, action, &progress).await,
        }
    }

    /// A record for work that begins now.
    fn begin(&self, work: Work, request_id: String) -> (ProcedureKey, ProcedureRecord) {
        let key = ProcedureKey(self.clock.random() as u64);
        (key, ProcedureRecord { work, request_id, started_ms: self.now_ms() })
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.wall_nanos() / 1_000_000
    }

    /// Takes up every procedure that an earlier leader left. Returns when all of them hold their
    /// locks, so that no client's change can come between.
    pub(crate) async fn resume(&self) -> Result<()> {
        for (key, found) in self.records.all::<ProcedureKey>().await? {
            let work = found.record.work;
            let guard = self.lock(&work).await;
            tracing::info!(request_id = found.record.request_id, ?work, "resume procedure");
            let executor = self.clone();
            self.work(Job::Procedure(key), async move {
                let _guard = guard;
                executor.finish(key, work).await
            });
        }
        Ok(())
    }

    /// Takes up a procedure that was left half done, unless whoever works on it finishes it first.
    pub(crate) async fn take_up(&self, key: ProcedureKey) -> Result<()> {
        let Some(found) = self.records.get(&key).await? else { return Ok(()) };
        let work = found.record.work;
        let _guard = self.lock(&work).await;
        if self.records.get(&key).await?.is_none() {
            return Ok(());
        }
        tracing::info!(request_id = found.record.request_id, ?work, "take up procedure");
        self.finish(key, work).await
    }

    async fn lock(&self, work: &Work) -> OwnedMutexGuard<()> {
        match work {
            Work::AlterTable { table } | Work::DropTable { table } => self.locks.table(*table).await,
            Work::AlterDatabase { database } | Work::DropDatabase { database } => self.locks.database(*database).await,
        }
    }

    /// Carries a procedure to its end. The caller holds its lock.
    async fn finish(&self, key: ProcedureKey, work: Work) -> Result<()> {
        let progress = Progress::default();
        match work {
            Work::AlterTable { table } => self.finish_alter(table, key, &progress).await.map(drop),
            Work::AlterDatabase { database } => self.finish_alter_database(database, key, &progress).await,
            Work::DropTable { table } => self.finish_drop(table, Some(key), &progress).await,
            Work::DropDatabase { database } => self.finish_drop_database(database, key, &progress).await,
        }
    }
}

/// The error when a record kept changing under a transaction.
fn contended() -> Error {
    Error::busy("the metadata changed faster than this change could be written")
}
