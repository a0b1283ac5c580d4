//! DROP TABLE: the name goes at once, the data when every region has reported, the records last.

use std::future::Future;
use std::time::Duration;

use varve_model::id::TableId;
use varve_model::{Error, ErrorKind, Result};
use varve_proto::metasrv::{OrderKind, Outcome, TableName};

use super::{Executor, Progress, TRIES_MAX, contended};
use crate::kv::Change;
use crate::kv::key::{ProcedureKey, RouteKey, TableKey, TableNameKey, TableRecord, Work};

/// How long DROP waits for the data to go before it answers that the table is gone. A datanode
/// that is away must not hold the client: the table is invisible already.
const DROP_WAIT: Duration = Duration::from_secs(5);

impl Executor {
    pub(super) async fn drop_table(
        &self,
        table: &TableName,
        if_exists: bool,
        request_id: String,
        progress: &Progress,
    ) -> Result<Outcome> {
        let id = match self.table(table).await {
            Err(error) if error.kind() == ErrorKind::NotFound && if_exists => return Ok(self.nothing_to_drop()),
            found => found?.record.info.id,
        };
        progress.set(format!("another change of table '{}' goes first", table.table));
        let guard = self.locks.table(id).await;
        let found = self.table(table).await?;
        let (key, record) = self.begin(Work::DropTable { table: id }, request_id);
        let mut change = Change::default();
        change.expect(&TableKey(id), found.revision);
        hide(id, found.record, &mut change)?;
        change.put(&key, &record)?;
        let revision = self.records.commit(change).await?.ok_or_else(contended)?;
        let (executor, shown) = (self.clone(), progress.clone());
        self.in_background("drop table", async move {
            let _guard = guard;
            executor.finish_drop(id, Some(key), &shown).await
        })
        .await?;
        Ok(Outcome { revision, changed: true })
    }

    /// Runs on when the wait is over, and then logs how it ends.
    pub(super) async fn in_background(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<()>> + Send + 'static,
    ) -> Result<()> {
        let (done, outcome) = tokio::sync::oneshot::channel();
        self.tasks.spawn(name, async move {
            if let Err(Err(error)) = done.send(work.await) {
                tracing::error!(%error, "{name} failed; the next start tries again");
            }
        });
        match tokio::time::timeout(DROP_WAIT, outcome).await {
            Ok(Ok(ended)) => ended,
            Ok(Err(_)) => Err(Error::unavailable("the procedure was interrupted")),
            Err(_) => Ok(()),
        }
    }

    /// Makes a table invisible as part of a larger drop; nothing when it is already.
    pub(super) async fn hide_table(&self, id: TableId) -> Result<()> {
        for _ in 0..TRIES_MAX {
            let Some(found) = self.records.get(&TableKey(id)).await?.filter(|found| !found.record.dropping) else {
                return Ok(());
            };
            let mut change = Change::default();
            change.expect(&TableKey(id), found.revision);
            hide(id, found.record, &mut change)?;
            if self.records.commit(change).await?.is_some() {
                return Ok(());
            }
        }
        Err(contended())
    }

    /// Deletes the regions, then the records. The caller holds the table's lock.
    pub(super) async fn finish_drop(&self, id: TableId, key: Option<ProcedureKey>, progress: &Progress) -> Result<()> {
        self.until_done(id, progress, |route| OrderKind::Drop(route.region)).await?;
        let mut change = Change::default();
        change.delete(&TableKey(id));
        change.delete(&RouteKey::new(id));
        if let Some(key) = key {
            change.delete(&key);
        }
        self.records.commit(change).await.map(drop)
    }
}

/// Takes the names away and marks the record.
fn hide(id: TableId, mut record: TableRecord, change: &mut Change) -> Result<()> {
    change.delete(&TableNameKey(record.info.database, record.info.name.clone()));
    if let Some(next) = record.next.take()
        && next.name != record.info.name
    {
        change.delete(&TableNameKey(next.database, next.name));
    }
    record.dropping = true;
    change.put(&TableKey(id), &record)
}
