//! Changes that metasrv carries through: recorded first, resumed after a crash.
//!
//! A change of one record is one transaction. A change that regions must learn
//! is put as a procedure record in the transaction that begins it and removed
//! in the one that ends it; everything between is idempotent. Work runs as a
//! task of its own, so that a client that goes away leaves nothing half done.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use varve_model::id::RegionId;
use varve_model::{Error, ErrorKind, Result};
use varve_proto::call::Call;
use varve_proto::metasrv::{Outcome, Procedure, TableChange};
use varve_service::clock::SharedClock;
use varve_service::task::TaskSet;

use crate::catalog::Feed;
use crate::kv::Records;
use crate::kv::key::{ProcedureKey, ProcedureRecord, Work};
use crate::registry::Registry;
use crate::route::Routes;

mod alter;
mod create;
mod database;
mod drop;
mod locks;
mod open;
mod region;

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
    locks: Arc<Locks>,
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
    pub(crate) fn new(
        records: Records,
        feed: Arc<Feed>,
        registry: Arc<Registry>,
        clock: SharedClock,
        tasks: TaskSet,
    ) -> Self {
        let routes = Arc::new(Routes::new(records.clone()));
        Self { records, feed, registry, routes, clock, tasks, locks: Arc::default() }
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
            let guard = match work {
                Work::AlterTable { table } | Work::DropTable { table } => self.locks.table(table).await,
                Work::AlterDatabase { database } | Work::DropDatabase { database } => {
                    self.locks.database(database).await
                }
            };
            tracing::info!(request_id = found.record.request_id, ?work, "resume procedure");
            let executor = self.clone();
            self.tasks.spawn("resumed procedure", async move {
                let _guard = guard;
                let progress = Progress::default();
                let ended = match &work {
                    Work::AlterTable { table } => executor.finish_alter(*table, key, &progress).await.map(drop),
                    Work::AlterDatabase { database } => executor.finish_alter_database(*database, key, &progress).await,
                    Work::DropTable { table } => executor.finish_drop(*table, Some(key), &progress).await,
                    Work::DropDatabase { database } => executor.finish_drop_database(*database, key, &progress).await,
                };
                if let Err(error) = ended {
                    tracing::error!(%error, ?work, "a resumed procedure failed; the next start tries again");
                }
            });
        }
        Ok(())
    }
}

/// The error when a record kept changing under a transaction.
fn contended() -> Error {
    Error::busy("the metadata changed faster than this change could be written")
}
