//! Who owns which region: reading routes, and writing what became of grants.
//!
//! Reports of many regions arrive together (a restart opens all of them), so
//! they are written together: whoever gets the turn writes for all who wait.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use varve_model::id::{NodeEpoch, NodeId, RegionEpoch, RegionId, TableId};
use varve_model::region::{Route, RouteState};
use varve_model::{Error, Reason, Result};

use crate::kv::key::{RouteKey, RouteRecord};
use crate::kv::{Change, Records, Versioned};

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

/// Whom a region is granted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grantee {
    /// The session that will own it.
    pub(crate) session: NodeEpoch,
    /// The node of that session.
    pub(crate) node: NodeId,
    /// An epoch that the region was found to have, if the records may be older than the region.
    pub(crate) found: Option<RegionEpoch>,
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
        let keys = tables.keys().map(|table| RouteKey::new(*table)).collect::<Vec<_>>();
        self.update(&keys, |key, record| Ok(tables.get(&key.table).is_some_and(|settled| apply(record, settled)))).await
    }

    /// Grants those regions of some tables that `choose` names a session for; it may be asked again.
    /// Each grant is above the region's last one and above the epoch it was found to have. Errors: `Busy`, and `Internal` without epochs left.
    pub(crate) async fn grant(
        &self,
        tables: &[RouteKey],
        mut choose: impl FnMut(&Route) -> Option<Grantee>,
    ) -> Result<()> {
        let grant = |_: &RouteKey, record: &mut RouteRecord| {
            let mut changed = false;
            for route in &mut record.routes {
                if let Some(grantee) = choose(route) {
                    *route = granted(route, grantee)?;
                    changed = true;
                }
            }
            Ok(changed)
        };
        self.update(tables, grant).await
    }

    /// Changes records in as few transactions as the store takes; `change` says whether it changed one,
    /// and may be asked again. A table that was dropped meanwhile is left out. Errors: `Busy` and `change`'s.
    async fn update(
        &self,
        keys: &[RouteKey],
        mut change: impl FnMut(&RouteKey, &mut RouteRecord) -> Result<bool>,
    ) -> Result<()> {
        let mut left = keys;
        let mut tries = 0;
        while !left.is_empty() {
            let mut txn = Change::default();
            let mut taken = 0;
            while taken < left.len() && !txn.is_full() {
                let key = &left[taken];
                taken += 1;
                let Some(mut found) = self.records.get(key).await? else { continue };
                if change(key, &mut found.record)? {
                    txn.expect(key, found.revision);
                    txn.put(key, &found.record)?;
                }
            }
            if txn.is_empty() || self.records.commit(txn).await?.is_some() {
                (left, tries) = (&left[taken..], 0);
                continue;
            }
            tries += 1;
            if tries == TRIES_MAX {
                return Err(Error::busy("routes changed faster than they could be written"));
            }
        }
        Ok(())
    }
}

/// A route's next grant.
fn granted(route: &Route, grantee: Grantee) -> Result<Route> {
    let newest = grantee.found.map_or(route.epoch, |found| found.max(route.epoch));
    let epoch = newest.0.checked_add(1).ok_or_else(|| Error::internal("epochs are used up"))?;
    Ok(Route {
        region: route.region,
        epoch: RegionEpoch(epoch),
        owner: grantee.session,
        node: grantee.node,
        state: RouteState::Opening,
    })
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
