//! Orders to the regions of a table: once for what a client waits for, until done for what must be.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use varve_model::id::{RegionId, TableId};
use varve_model::region::{Route, RouteState};
use varve_model::{Error, ErrorKind, Result};
use varve_proto::metasrv::{OrderKind, Outcome, RegionAction, TableName};

use super::{Executor, Progress};
use crate::registry::{Failure, OrderOutcome};

/// First pause after a region failed; doubles up to [`RETRY_PAUSE_MAX`].
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause between tries.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(10);

/// Doubles the pause up to its bound.
pub(crate) fn longer(pause: Duration) -> Duration {
    if pause.is_zero() { RETRY_PAUSE_MIN } else { (2 * pause).min(RETRY_PAUSE_MAX) }
}

impl Executor {
    /// Flush, compact, truncate: each region is ordered once.
    ///
    /// They are not recorded: a client whose call fails asks again. A truncate that were resumed
    /// after a crash could delete rows that were acknowledged since.
    pub(super) async fn each_region(
        &self,
        table: &TableName,
        action: RegionAction,
        progress: &Progress,
    ) -> Result<Outcome> {
        let found = self.table(table).await?;
        let id = found.record.info.id;
        self.opened(id, found.revision, progress).await?;
        let _guard = match action {
            // A truncate between two steps of an ALTER or DROP would have no defined meaning.
            RegionAction::Truncate => Some(self.locks.table(id).await),
            RegionAction::Flush | RegionAction::Compact => None,
        };
        let routes = self.routes.get(id).await?;
        progress.set("regions have not reported");
        let outcomes = join_all(routes.record.routes.iter().map(|route| {
            let order = match action {
                RegionAction::Truncate => OrderKind::Truncate(route.region),
                RegionAction::Flush => OrderKind::Flush(route.region),
                RegionAction::Compact => OrderKind::Compact(route.region),
            };
            self.ordered(route, order)
        }));
        for (route, outcome) in routes.record.routes.iter().zip(outcomes.await) {
            outcome.map_err(|failure| {
                failure.error.copy().context(format!("{action:?} region {}", route.region).to_lowercase())
            })?;
        }
        Ok(Outcome { revision: found.revision.max(routes.revision), changed: true })
    }

    /// Gives an order to the owner and waits for its report.
    pub(super) async fn ordered(&self, route: &Route, order: OrderKind) -> OrderOutcome {
        match self.registry.order(route.owner, order) {
            Ok(outcome) => outcome
                .await
                .unwrap_or_else(|_| Err(Error::unavailable("metasrv forgot the order: its term ended").into())),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives an order to the owner of every region until each has reported it done, whoever the
    /// owner is by then. A damaged region is left out unless it is dropped. The caller holds the
    /// table's lock, so that regions neither come nor go.
    pub(super) async fn until_done(
        &self,
        table: TableId,
        progress: &Progress,
        order: impl Fn(&Route) -> OrderKind,
    ) -> Result<()> {
        let mut done = BTreeSet::<RegionId>::new();
        let mut pause = Duration::ZERO;
        loop {
            let routes = match self.routes.get(table).await {
                // A procedure that is resumed after its last step finds nothing left.
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                routes => routes?.record.routes,
            };
            let left = routes.iter().filter(|route| !done.contains(&route.region)).collect::<Vec<_>>();
            let wanted = |route: &&&Route| match route.state {
                RouteState::Open => true,
                RouteState::Opening => false,
                RouteState::Corrupt => matches!(order(route), OrderKind::Drop(_)),
            };
            let skipped = |route: &&&Route| route.state == RouteState::Corrupt && !wanted(route);
            done.extend(left.iter().filter(skipped).map(|route| route.region));
            let now = left.iter().filter(wanted).copied().collect::<Vec<_>>();
            if let Some(route) = left.iter().find(|route| !done.contains(&route.region)) {
                progress.region(route.region, None);
            }
            let outcomes = join_all(now.iter().map(|route| self.ordered(route, order(route)))).await;
            let mut failed = false;
            for (route, outcome) in now.iter().zip(outcomes) {
                match outcome {
                    Ok(()) => drop(done.insert(route.region)),
                    Err(Failure { error, .. }) => {
                        failed = true;
                        progress.region(route.region, Some(&error));
                        tracing::warn!(region = %route.region, %error, "an order failed and is given again");
                    }
                }
            }
            if routes.iter().all(|route| done.contains(&route.region)) {
                return Ok(());
            }
            pause = if failed || now.is_empty() { longer(pause) } else { Duration::ZERO };
            self.clock.sleep(pause).await;
        }
    }
}
