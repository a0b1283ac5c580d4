//! Who owns which region: reading routes, and writing what became of grants.
//!
//! Reports of many regions arrive together (a restart opens all of them), so
//! they are written together: whoever gets the turn writes for all who wait.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use varve_model::id::{RegionEpoch, RegionId, TableId};
use varve_model::region::RouteState;
use varve_model::{Error, Reason, Result};

use crate::kv::key::{RouteKey, RouteRecord};
use crate::kv::{Change, Records, Versioned};

/// Tables in one transaction: each is a comparison and a put, and etcd takes 128 of each.
pub(crate) const TABLES_PER_TXN_MAX: usize = 100;
/// Times a write is tried again when another came between.
const TRIES_MAX: usize = 32;

/// Routes of all tables.
#[derive(Debug)]
pub(crate) struct Routes {
    records: Records,
    waiting: Mutex<Vec<(Settled, oneshot::Sender<Result<()>>)>>,
    turn: tokio::sync::Mutex<()>,
}

/// What became of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settled {
    /// The region.
    pub(crate) region: RegionId,
    /// The grant.
    pub(crate) epoch: RegionEpoch,
    /// The route's state from now on.
    pub(crate) state: RouteState,
}

impl Routes {
    /// Routes in a store.
    pub(crate) fn new(records: Records) -> Self {
        Self { records, waiting: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    /// The routes of a table. Errors: `NotFound`.
    pub(crate) async fn get(&self, table: TableId) -> Result<Versioned<RouteRecord>> {
        self.records
            .get(&RouteKey::new(table))
            .await?
            .ok_or_else(|| Error::not_found(format!("table {table} has no routes")).with_reason(Reason::Table))
    }

    /// Writes what became of a grant; nothing when the region was granted anew meanwhile.
    pub(crate) async fn settle(&self, settled: Settled) -> Result<()> {
        let (done, outcome) = oneshot::channel();
        self.waiting.lock().push((settled, done));
        let turn = self.turn.lock().await;
        let batch = std::mem::take(&mut *self.waiting.lock());
        let (batch, waiters): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let written = if batch.is_empty() { Ok(()) } else { self.write(&batch).await };
        for waiter in waiters {
            // A waiter that went away needs no answer.
            let _ = waiter.send(written.as_ref().map_err(Error::copy).copied());
        }
        drop(turn);
        outcome.await.map_err(|_| Error::unavailable("writing routes was interrupted"))?
    }

    async fn write(&self, batch: &[Settled]) -> Result<()> {
        let mut tables = BTreeMap::<TableId, Vec<Settled>>::new();
        for settled in batch {
            tables.entry(settled.region.table()).or_default().push(*settled);
        }
        let tables = tables.into_iter().collect::<Vec<_>>();
        for part in tables.chunks(TABLES_PER_TXN_MAX) {
            self.write_part(part).await?;
        }
        Ok(())
    }

    async fn write_part(&self, tables: &[(TableId, Vec<Settled>)]) -> Result<()> {
        for _ in 0..TRIES_MAX {
            let mut change = Change::default();
            for (table, settled) in tables {
                let key = RouteKey::new(*table);
                // A table that was dropped meanwhile has nothing to settle.
                let Some(found) = self.records.get(&key).await? else { continue };
                let mut record = found.record;
                if apply(&mut record, settled) {
                    change.expect(&key, found.revision);
                    change.put(&key, &record)?;
                }
            }
            if change.is_empty() || self.records.commit(change).await?.is_some() {
                return Ok(());
            }
        }
        Err(Error::busy("routes changed faster than they could be written"))
    }
}

/// Sets the states of grants that are still current; whether anything changed.
fn apply(record: &mut RouteRecord, settled: &[Settled]) -> bool {
    let mut changed = false;
    for one in settled {
        let route = record.routes.iter_mut().find(|route| route.region == one.region && route.epoch == one.epoch);
        if let Some(route) = route.filter(|route| route.state != one.state) {
            route.state = one.state;
            changed = true;
        }
    }
    changed
}
