//! Opening regions: whatever route is `opening` has its owner ordered to claim and serve it.
//!
//! The route is the only record: this is started for a new table, after a
//! takeover and whenever reconcile finds a region that nobody opens.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use varve_model::id::{NodeEpoch, TableId};
use varve_model::region::{Route, RouteState};
use varve_model::table::{TableInfo, Ttl};
use varve_model::{ErrorKind, Result};
use varve_proto::metasrv::{Found, Grant, OrderKind};

use super::region::longer;
use super::{Executor, Job};
use crate::kv::key::RouteKey;
use crate::registry::Failure;
use crate::route::{Grantee, Settled};

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
            Err(Failure { error, found }) => match (error.kind(), found) {
                (ErrorKind::Corrupt, _) => {
                    tracing::error!(%region, %error, "a region is damaged and not served");
                    RouteState::Corrupt
                }
                // The region was claimed under a newer grant than we remember.
                (ErrorKind::Fenced, found) => {
                    tracing::warn!(%region, %epoch, %error, "a grant is older than the region: granting anew");
                    let found = if let Some(Found::Epoch(head)) = found { Some(head) } else { None };
                    self.grant_anew(route, Grantee { session: route.owner, node: route.node, found }).await?;
                    return Ok(true);
                }
                (_, Some(Found::Owner(owner))) => return self.meet_owner(route, owner).await,
                _ => {
                    tracing::warn!(%region, %error, "a region could not be opened and is ordered again");
                    return Ok(false);
                }
            },
        };
        self.routes.settle(Settled { region, epoch, state }).await?;
        Ok(true)
    }

    /// The region has an owner that nobody sealed: the records come from a backup that is older than its grant.
    /// One that lives keeps the region. Any other is sealed first, by its failover or as a stranger.
    async fn meet_owner(&self, route: &Route, owner: NodeEpoch) -> Result<bool> {
        let region = route.region;
        let living = self.registry.placeable(self.clock.boot()).into_iter().find(|member| member.session == owner);
        if let Some(living) = living {
            tracing::warn!(%region, %owner, "the region's owner lives and was forgotten: it keeps the region");
            self.grant_anew(route, Grantee { session: owner, node: living.node, found: None }).await?;
            return Ok(true);
        }
        tracing::warn!(%region, %owner, "the region's owner may be alive: its end is waited for");
        self.registry.owner_found(owner);
        Ok(false)
    }

    /// Grants again, unless another did.
    async fn grant_anew(&self, refused: &Route, grantee: Grantee) -> Result<()> {
        let table = RouteKey::new(refused.region.table());
        self.routes.grant(&[table], |route| (route == refused).then_some(grantee)).await
    }
}

fn open_order(route: &Route, info: &Arc<TableInfo>, ttl: Ttl) -> OrderKind {
    OrderKind::Open(Grant { region: route.region, epoch: route.epoch, table: Arc::clone(info), ttl })
}
