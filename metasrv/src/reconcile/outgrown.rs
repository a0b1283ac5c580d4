//! Regions whose owner serves them under a newer grant than the records know: these come from an old backup.
//!
//! Such a route looks sound and every request by it is refused as stale, for
//! ever. Only beats tell; the region is granted to its owner again, above the
//! epoch that it has.

use std::collections::BTreeMap;

use varve_model::Result;
use varve_model::id::{NodeEpoch, RegionEpoch, RegionId, TableId};
use varve_model::region::{Route, RouteState};

use crate::kv::key::RouteKey;
use crate::procedure::{Executor, Job};
use crate::route::Grantee;

/// Who serves each region, under which grant.
pub(super) type Served = BTreeMap<RegionId, (NodeEpoch, RegionEpoch)>;

/// The epoch under which the region's owner serves it, if that is above the route's.
pub(super) fn newer_epoch(served: &Served, route: &Route) -> Option<RegionEpoch> {
    let (session, epoch) = *served.get(&route.region)?;
    let is_newer = route.state == RouteState::Open && session == route.owner && epoch > route.epoch;
    is_newer.then_some(epoch)
}

/// Grants such regions of a table again, unless that is under way.
pub(super) fn start(executor: &Executor, table: TableId, served: &Served) {
    let job = Job::Regrant(table);
    if !executor.works_on(job) {
        let (work, served) = (executor.clone(), served.clone());
        executor.work(job, async move { regrant(&work, table, &served).await });
    }
}

async fn regrant(executor: &Executor, table: TableId, served: &Served) -> Result<()> {
    let keep = |route: &Route| {
        let found = newer_epoch(served, route)?;
        tracing::warn!(region = %route.region, owner = %route.owner, "a route is older than its region");
        Some(Grantee { session: route.owner, node: route.node, found: Some(found) })
    };
    executor.routes.grant(&[RouteKey::new(table)], keep).await?;
    executor.start_opening(table);
    Ok(())
}
