//! What a leader brings in order by itself: at its start, and when a datanode starts.

mod takeover;

use std::collections::BTreeSet;

use varve_model::Result;
use varve_model::region::RouteState;

use crate::kv::key::{RouteKey, SessionKey, SessionState};
use crate::procedure::Executor;

pub(crate) use takeover::open_session;

/// Takes up what an earlier leader left: sessions, procedures, regions that are opening.
pub(crate) async fn resume(executor: &Executor) -> Result<()> {
    let now = executor.clock.boot();
    for (key, found) in executor.records.all::<SessionKey>().await? {
        if found.record.state == SessionState::Live {
            executor.registry.admit(key.0, found.record.node, now);
        }
    }
    for (key, found) in executor.records.all::<SessionKey>().await? {
        if found.record.state == SessionState::Live {
            takeover::take_over(executor, key.0, &found.record).await?;
        }
    }
    executor.resume().await?;
    let mut opening = BTreeSet::new();
    for (key, found) in executor.records.all::<RouteKey>().await? {
        if found.record.routes.iter().any(|route| route.state == RouteState::Opening) {
            opening.insert(key.table);
        }
    }
    for table in opening {
        executor.start_opening(table);
    }
    Ok(())
}
