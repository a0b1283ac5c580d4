//! A datanode that starts takes over from its earlier self, without waiting for a lease.
//!
//! Whoever holds a volume's lock proves that the earlier session on it is dead:
//! its regions are granted anew at once. Without a volume the earlier session of
//! the node is fenced in the transaction that opens the new one, and its regions
//! follow when its lanes are sealed. Takeover is idempotent; what a crash left
//! is finished by reconcile.

use std::collections::{BTreeMap, BTreeSet};

use varve_model::id::{NodeEpoch, TableId};
use varve_model::{Error, Result};
use varve_proto::metasrv::Registration;

use super::{failover, member};
use crate::kv::key::{CounterKey, CounterRecord, RouteKey, SessionKey, SessionRecord, SessionState};
use crate::kv::{Change, Versioned};
use crate::procedure::{Executor, Job};
use crate::route::Grantee;

/// Times a transaction is tried again when another came between.
const TRIES_MAX: usize = 64;

/// Opens a session for a datanode that starts. Errors: `Unavailable`, `Busy`.
pub(crate) async fn open_session(executor: &Executor, registration: Registration) -> Result<NodeEpoch> {
    let now = executor.clock.boot();
    if let Some(rival) = executor.registry.rival(registration.node, registration.volume, now) {
        return Err(Error::busy(format!(
            "node {} is alive in session {}: is another process running with this node id?",
            registration.node, rival.session
        ))
        .with_hint("give each datanode a node id of its own; one that was killed is noticed within seconds"));
    }
    let record = SessionRecord {
        node: registration.node,
        address: registration.address,
        volume: registration.volume,
        state: SessionState::Live,
        opened_ms: executor.now_ms(),
        lease_ms: Some(u64::try_from(executor.registry.lease().as_millis()).unwrap_or(u64::MAX)),
    };
    let (epoch, fenced) = record_session(executor, &record, registration.seen_epoch).await?;
    for earlier in fenced {
        executor.registry.retire(earlier);
        failover::start(executor, earlier);
    }
    for table in take_over(executor, epoch, &record).await? {
        executor.order_opening(table).await?;
        executor.start_opening(table);
    }
    Ok(epoch)
}

/// Takes over again what an earlier try left, unless that is under way.
pub(super) fn start(executor: &Executor, session: NodeEpoch) {
    let job = Job::TakeOver(session);
    if executor.works_on(job) {
        return;
    }
    let work = executor.clone();
    executor.work(job, async move {
        let Some(found) = work.records.get(&SessionKey(session)).await? else { return Ok(()) };
        if found.record.state != SessionState::Live {
            return Ok(());
        }
        for table in take_over(&work, session, &found.record).await? {
            work.start_opening(table);
        }
        Ok(())
    });
}

/// The epoch is above every one given before and above the one the datanode saw. Earlier sessions of
/// the node that log in the bucket are fenced with it: the process that had them is gone.
async fn record_session(
    executor: &Executor,
    record: &SessionRecord,
    seen: NodeEpoch,
) -> Result<(NodeEpoch, Vec<NodeEpoch>)> {
    for _ in 0..TRIES_MAX {
        let counter = executor.records.get(&CounterKey::NodeEpoch).await?;
        let (revision, next) = counter.map_or((0, 1), |found| (found.revision, found.record.next));
        let above = seen.0.checked_add(1).ok_or_else(|| Error::invalid("the epoch seen is the last there is"))?;
        let epoch = NodeEpoch(next.max(above));
        let next =
            epoch.0.checked_add(1).ok_or_else(|| Error::invalid("the epoch seen is the last but one there is"))?;
        let mut change = Change::default();
        change.expect(&CounterKey::NodeEpoch, revision);
        change.put(&CounterKey::NodeEpoch, &CounterRecord { next })?;
        change.expect(&SessionKey(epoch), 0);
        change.put(&SessionKey(epoch), record)?;
        let mut fenced = Vec::new();
        for (key, found) in executor.records.all::<SessionKey>().await? {
            let earlier = &found.record;
            if earlier.node == record.node && earlier.volume.is_none() && earlier.state == SessionState::Live {
                change.expect(&key, found.revision);
                change.put(&key, &SessionRecord { state: SessionState::Fencing, ..earlier.clone() })?;
                fenced.push(key.0);
            }
        }
        // Known before the record can be seen: a live record of an unknown session is a dead one's.
        executor.registry.admit(member(&executor.registry, epoch, record), executor.clock.boot());
        match executor.records.commit(change).await {
            Ok(Some(_)) => return Ok((epoch, fenced)),
            Ok(None) => executor.registry.retire(epoch),
            Err(error) => {
                executor.registry.retire(epoch);
                return Err(error);
            }
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
    let grantee = Grantee { session, node: record.node, found: None };
    executor.routes.grant(&keys, |route| earlier.contains(&route.owner).then_some(grantee)).await?;
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
