//! A datanode that starts on a volume takes over the regions of the session that held it before.
//!
//! Whoever holds the volume's lock proves that the earlier session is dead: its
//! regions are granted anew at once, without waiting for a lease. Takeover is
//! idempotent and is finished at the next start if a crash came between.

use std::collections::{BTreeMap, BTreeSet};

use varve_model::id::{NodeEpoch, RegionEpoch, TableId};
use varve_model::region::RouteState;
use varve_model::{Error, Result};
use varve_proto::metasrv::Registration;

use crate::kv::key::{CounterKey, CounterRecord, RouteKey, SessionKey, SessionRecord, SessionState};
use crate::kv::{Change, Versioned};
use crate::procedure::Executor;
use crate::route::TABLES_PER_TXN_MAX;

/// Times a transaction is tried again when another came between.
const TRIES_MAX: usize = 64;

/// Opens a session for a datanode that starts. Errors: `Unavailable`, `Busy`.
pub(crate) async fn open_session(executor: &Executor, registration: Registration) -> Result<NodeEpoch> {
    let record = SessionRecord {
        node: registration.node,
        address: registration.address,
        volume: registration.volume,
        state: SessionState::Live,
        opened_ms: executor.now_ms(),
    };
    let epoch = record_session(executor, &record, registration.seen_epoch).await?;
    executor.registry.admit(epoch, record.node, executor.clock.boot());
    for table in take_over(executor, epoch, &record).await? {
        executor.order_opening(table).await?;
        executor.start_opening(table);
    }
    Ok(epoch)
}

/// The epoch is above every one given before and above the one the datanode saw.
async fn record_session(executor: &Executor, record: &SessionRecord, seen: NodeEpoch) -> Result<NodeEpoch> {
    for _ in 0..TRIES_MAX {
        let counter = executor.records.get(&CounterKey::NodeEpoch).await?;
        let (revision, next) = counter.map_or((0, 1), |found| (found.revision, found.record.next));
        let above = seen.0.checked_add(1).ok_or_else(|| Error::invalid("the epoch seen is the last there is"))?;
        let epoch = next.max(above);
        let next = epoch.checked_add(1).ok_or_else(|| Error::invalid("the epoch seen is the last but one there is"))?;
        let mut change = Change::default();
        change.expect(&CounterKey::NodeEpoch, revision);
        change.put(&CounterKey::NodeEpoch, &CounterRecord { next })?;
        change.expect(&SessionKey(NodeEpoch(epoch)), 0);
        change.put(&SessionKey(NodeEpoch(epoch)), record)?;
        if executor.records.commit(change).await?.is_some() {
            return Ok(NodeEpoch(epoch));
        }
    }
    Err(Error::busy("too many datanodes register at once"))
}

/// Seals the earlier sessions of the volume and grants their regions to this one; the tables concerned.
pub(super) async fn take_over(
    executor: &Executor,
    session: NodeEpoch,
    record: &SessionRecord,
) -> Result<BTreeSet<TableId>> {
    let Some(volume) = record.volume else { return Ok(BTreeSet::new()) };
    let mut earlier = BTreeSet::new();
    for (key, found) in executor.records.all::<SessionKey>().await? {
        if key.0 < session && found.record.volume == Some(volume) {
            seal(executor, key, found).await?;
            executor.registry.retire(key.0);
            earlier.insert(key.0);
        }
    }
    let mut tables = BTreeMap::new();
    if !earlier.is_empty() {
        for (key, found) in executor.records.all::<RouteKey>().await? {
            if found.record.routes.iter().any(|route| earlier.contains(&route.owner)) {
                tables.insert(key.table, key);
            }
        }
    }
    let keys = tables.values().copied().collect::<Vec<_>>();
    for part in keys.chunks(TABLES_PER_TXN_MAX) {
        grant(executor, part, &earlier, session, record).await?;
    }
    Ok(tables.into_keys().collect())
}

/// The holder of the lock vouches that the earlier session cannot write again.
async fn seal(executor: &Executor, key: SessionKey, mut found: Versioned<SessionRecord>) -> Result<()> {
    for _ in 0..TRIES_MAX {
        if found.record.state == SessionState::Sealed {
            return Ok(());
        }
        found.record.state = SessionState::Sealed;
        let mut change = Change::default();
        change.expect(&key, found.revision);
        change.put(&key, &found.record)?;
        if executor.records.commit(change).await?.is_some() {
            return Ok(());
        }
        match executor.records.get(&key).await? {
            Some(again) => found = again,
            None => return Ok(()),
        }
    }
    Err(Error::busy("a session record changed faster than it could be sealed"))
}

async fn grant(
    executor: &Executor,
    keys: &[RouteKey],
    earlier: &BTreeSet<NodeEpoch>,
    session: NodeEpoch,
    record: &SessionRecord,
) -> Result<()> {
    for _ in 0..TRIES_MAX {
        let mut change = Change::default();
        for key in keys {
            let Some(mut found) = executor.records.get(key).await? else { continue };
            let owned = found.record.routes.iter_mut().filter(|route| earlier.contains(&route.owner));
            let mut changed = false;
            for route in owned {
                route.epoch = RegionEpoch(route.epoch.0 + 1);
                route.owner = session;
                route.node = record.node;
                route.state = RouteState::Opening;
                changed = true;
            }
            if changed {
                change.expect(key, found.revision);
                change.put(key, &found.record)?;
            }
        }
        if change.is_empty() || executor.records.commit(change).await?.is_some() {
            return Ok(());
        }
    }
    Err(Error::busy("routes changed faster than they could be granted anew"))
}
