//! Failover of a session whose log is in the bucket: fence, seal, grant its regions to others.
//!
//! The session's record says how far it has come, so that any leader goes on:
//! `fencing` is written before anything else, and nothing is granted before a
//! datanode has reported every lane sealed. Sealing fences, not time: should the
//! session be alive after all, its next write meets the seal.

use varve_model::id::{NodeEpoch, NodeId};
use varve_model::region::Route;
use varve_model::{Error, Result};
use varve_proto::metasrv::{Life, OrderKind};

use crate::kv::key::{RouteKey, SessionKey, SessionRecord, SessionState};
use crate::kv::{Change, Versioned};
use crate::placement::{Candidate, replace};
use crate::procedure::region::longer;
use crate::procedure::{Executor, Job};
use crate::registry::Member;
use crate::route::Grantee;

/// Starts the failover of a session, unless it is under way.
pub(super) fn start(executor: &Executor, session: NodeEpoch) {
    let job = Job::FailOver(session);
    if !executor.works_on(job) {
        let work = executor.clone();
        executor.work(job, async move { fail_over(&work, session).await });
    }
}

async fn fail_over(executor: &Executor, session: NodeEpoch) -> Result<()> {
    let key = SessionKey(session);
    // A record that an old backup does not know: its lanes are sealed all the same.
    let mut found = executor.records.get(&key).await?;
    let node = found.as_ref().map_or(NodeId(0), |found| found.record.node);
    if let Some(live) = found.as_ref().filter(|found| found.record.state == SessionState::Live) {
        let has_left = executor.registry.life(session) == Some(Life::Sealed);
        let next = if has_left { SessionState::Sealed } else { SessionState::Fencing };
        if !has_left {
            // From here on no beat is answered, even if writing the record fails.
            executor.registry.retire(session);
        }
        tracing::warn!(%session, %node, state = ?next, "a datanode is gone: its regions go to others");
        found = Some(mark(executor, key, live, next).await?);
        // One that says goodbye hears that it was heard.
        executor.registry.retire(session);
    }
    if found.as_ref().is_none_or(|found| found.record.state == SessionState::Fencing) {
        seal(executor, session, node).await?;
        executor.registry.owner_sealed(session);
        if let Some(fencing) = &found {
            mark(executor, key, fencing, SessionState::Sealed).await?;
        }
    }
    grant(executor, session, node).await
}

/// Writes how far a session has come. Errors: `Busy` when its record changed meanwhile.
async fn mark(
    executor: &Executor,
    key: SessionKey,
    found: &Versioned<SessionRecord>,
    state: SessionState,
) -> Result<Versioned<SessionRecord>> {
    let record = SessionRecord { state, ..found.record.clone() };
    let mut change = Change::default();
    change.expect(&key, found.revision);
    change.put(&key, &record)?;
    let revision = executor.records.commit(change).await?;
    let revision = revision.ok_or_else(|| Error::busy(format!("session {} changed meanwhile", key.0)))?;
    Ok(Versioned { revision, record })
}

/// Returns when a datanode has reported the session's lanes sealed. One that keeps silent or fails
/// is joined by the next; sealing twice is sealing once. Errors: `Unavailable` when nobody is there.
async fn seal(executor: &Executor, session: NodeEpoch, node: NodeId) -> Result<()> {
    let patience = executor.registry.patience();
    let mut pause = std::time::Duration::ZERO;
    for attempt in 0_usize.. {
        executor.clock.sleep(pause).await;
        let mut sealers = executor.registry.sealers(executor.clock.boot());
        sealers.retain(|sealer| sealer.session != session);
        // Whoever came back for these regions has no other work.
        sealers.sort_by_key(|sealer| (sealer.node != node, sealer.session));
        let Some(sealer) = sealers.get(attempt % sealers.len().max(1)).map(|sealer: &Member| sealer.session) else {
            return Err(Error::unavailable(format!("no datanode is there to seal session {session}")));
        };
        let outcome = executor.registry.order(sealer, OrderKind::Seal(session))?;
        tokio::select! {
            outcome = outcome => match outcome {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(failure)) => tracing::warn!(%session, %sealer, error = %failure, "a session could not be sealed"),
                Err(_) => return Err(Error::unavailable("the term ended")),
            },
            () = executor.clock.sleep(patience) => {
                tracing::warn!(%session, %sealer, "a datanode does not report the seal; another is asked too");
            }
        }
        pause = longer(pause);
    }
    Ok(())
}

/// Grants the regions of a sealed session to sessions that live: one guarded transaction per table.
async fn grant(executor: &Executor, session: NodeEpoch, node: NodeId) -> Result<()> {
    let mut load = None;
    for (key, found) in executor.records.all::<RouteKey>().await? {
        let owned = found.record.routes.iter().filter(|route| route.owner == session).count();
        if owned == 0 {
            continue;
        }
        let candidates = load.get_or_insert_with(|| candidates(executor));
        let owners = replace(owned, node, candidates);
        if owners.is_empty() {
            // Reconcile comes back when a datanode is there.
            return Ok(());
        }
        // Regions may have come (a table created on the dying session): the owners go round.
        let mut owners = owners.iter().cycle();
        let next = |route: &Route| {
            let owner = if route.owner == session { owners.next() } else { None }?;
            Some(Grantee { session: owner.session, node: owner.node, found: None })
        };
        executor.routes.grant(&[key], next).await?;
        tracing::info!(table = %key.table, %session, regions = owned, "regions are granted to other datanodes");
        executor.start_opening(key.table);
    }
    Ok(())
}

fn candidates(executor: &Executor) -> Vec<Candidate> {
    let load = executor.feed.read(|image| image.load());
    let alive = executor.registry.placeable(executor.clock.boot()).into_iter();
    // Whoever logs on a volume of its own may still read the bucket, and the dead session's log is there.
    alive.map(|member| Candidate::new(member.session, member.node, &load)).collect()
}
