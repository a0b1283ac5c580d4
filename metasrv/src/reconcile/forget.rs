//! What a sealed session left: its log in the bucket, then its record.
//!
//! The bucket alone decides what may go: the datanode that is ordered looks at
//! each object's regions. Metasrv asks again from time to time until nothing is
//! left.

use std::time::Duration;

use varve_model::Result;
use varve_model::id::NodeEpoch;
use varve_proto::metasrv::OrderKind;

use crate::kv::Change;
use crate::kv::key::{RouteKey, SessionKey, SessionState};
use crate::procedure::{Executor, Job};

/// Pause before the log of a sealed session is looked at, the first time and again: its regions
/// flush in the background.
const FORGET_PAUSE: Duration = Duration::from_secs(30);

/// Starts to forget a session, unless that is under way.
pub(super) fn start(executor: &Executor, session: NodeEpoch) {
    let job = Job::Forget(session);
    if !executor.works_on(job) {
        let work = executor.clone();
        executor.work(job, async move { forget(&work, session).await });
    }
}

async fn forget(executor: &Executor, session: NodeEpoch) -> Result<()> {
    executor.clock.sleep(FORGET_PAUSE).await;
    let key = SessionKey(session);
    let Some(found) = executor.records.get(&key).await? else { return Ok(()) };
    if found.record.state != SessionState::Sealed {
        return Ok(());
    }
    let routes = executor.records.all::<RouteKey>().await?;
    if routes.iter().any(|(_, found)| found.record.routes.iter().any(|route| route.owner == session)) {
        return Ok(());
    }
    // A volume's log is trimmed by whoever holds the volume.
    if found.record.volume.is_none() {
        let Some(worker) = executor.registry.sealers(executor.clock.boot()).first().copied() else { return Ok(()) };
        match executor.registry.order(worker.session, OrderKind::Forget(session))?.await {
            Ok(Ok(())) => {}
            // Regions of it have not flushed yet, or the datanode went away: the next turn asks again.
            Ok(Err(failure)) => {
                tracing::debug!(%session, error = %failure, "the log of a sealed session is still needed");
                return Ok(());
            }
            Err(_) => return Ok(()),
        }
    }
    let mut change = Change::default();
    change.expect(&key, found.revision);
    change.delete(&key);
    if executor.records.commit(change).await?.is_some() {
        tracing::info!(%session, "a sealed session is forgotten");
    }
    Ok(())
}
