//! Opening regions: whatever route is `opening` has its owner ordered to claim and serve it.
//!
//! The route is the only record: this is started for a new table, after a
//! takeover and whenever reconcile finds a region that nobody opens.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use varve_model::id::{RegionEpoch, TableId};
use varve_model::region::{Route, RouteState};
use varve_model::table::{TableInfo, Ttl};
use varve_model::{Error, ErrorKind, Result};
use varve_proto::metasrv::{Grant, OrderKind};

use super::region::longer;
use super::{Executor, Job};
use crate::kv::key::{RouteKey, RouteRecord};
use crate::registry::Failure;
use crate::route::Settled;

impl Executor {
    /// Queues the orders to open, so that they are there when the owner's first beat is answered:
    /// a datanode calls itself ready when it has done what came with it.
    pub(crate) async fn order_opening(&self, table: TableId) -> Result<()> {
        let routes = self.routes.get(table).await?.record.routes;
        let Some((info, ttl)) = self.table_and_ttl(table).await? else { return Ok(()) };
        let info = Arc::new(info);
        for route in routes.iter().filter(|route| route.state == RouteState::Opening) {
            // Joined by the one that waits for the outcome; a session that ended meanwhile needs none.
            drop(self.registry.order(route.owner, open_order(route, &info, ttl)));
        }
        Ok(())
    }

    /// Opens the regions of a table in the background.
    pub(crate) fn start_opening(&self, table: TableId) {
        let executor = self.clone();
        self.work(Job::Open(table), async move { executor.open(table).await });
    }

    /// Returns when no region is opening, or none that a session could open.
    async fn open(&self, table: TableId) -> Result<()> {
        let mut pause = Duration::ZERO;
        loop {
            self.clock.sleep(pause).await;
            let routes = match self.routes.get(table).await {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                routes => routes?.record.routes,
            };
            let Some((info, ttl)) = self.table_and_ttl(table).await? else { return Ok(()) };
            let info = Arc::new(info);
            let opening = routes
                .iter()
                .filter(|route| route.state == RouteState::Opening && self.registry.knows(route.owner))
                .map(|route| self.open_one(route, &info, ttl));
            let mut opening = opening.collect::<FuturesUnordered<_>>();
            if opening.is_empty() {
                return Ok(());
            }
            let mut failed = false;
            while let Some(settled) = opening.next().await {
                failed |= !settled?;
            }
            pause = if failed { longer(pause) } else { Duration::ZERO };
        }
    }

    /// Whether the grant was settled.
    async fn open_one(&self, route: &Route, info: &Arc<TableInfo>, ttl: Ttl) -> Result<bool> {
        let (region, epoch) = (route.region, route.epoch);
        let state = match self.ordered(route, open_order(route, info, ttl)).await {
            Ok(()) => RouteState::Open,
            Err(Failure { error, found_epoch }) => match error.kind() {
                ErrorKind::Corrupt => {
                    tracing::error!(%region, %error, "a region is damaged and not served");
                    RouteState::Corrupt
                }
                // The region was claimed under a newer grant than we remember.
                ErrorKind::Fenced => {
                    tracing::warn!(%region, %epoch, %error, "a grant is older than the region: granting anew");
                    self.grant_anew(route, found_epoch).await?;
                    return Ok(true);
                }
                _ => {
                    tracing::warn!(%region, %error, "a region could not be opened and is ordered again");
                    return Ok(false);
                }
            },
        };
        self.routes.settle(Settled { region, epoch, state }).await?;
        Ok(true)
    }

    /// Grants again above the epoch that the region was found to have: metadata that came from an
    /// old backup must not give an epoch twice.
    async fn grant_anew(&self, refused: &Route, found: Option<RegionEpoch>) -> Result<()> {
        let key = RouteKey::new(refused.region.table());
        let above = |epoch: RegionEpoch| epoch.0.checked_add(1).ok_or_else(|| Error::internal("epochs are used up"));
        let next = RegionEpoch(above(refused.epoch)?.max(above(found.unwrap_or_default())?));
        let grant = |_: &RouteKey, record: &mut RouteRecord| {
            let route = record.routes.iter_mut().find(|route| *route == refused);
            route.map(|route| route.epoch = next).is_some()
        };
        self.routes.update(&[key], grant).await
    }
}

fn open_order(route: &Route, info: &Arc<TableInfo>, ttl: Ttl) -> OrderKind {
    OrderKind::Open(Grant { region: route.region, epoch: route.epoch, table: Arc::clone(info), ttl })
}
