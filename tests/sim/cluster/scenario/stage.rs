//! What scenarios are made of: reading the cluster's state, bringing it into one, waiting.

use std::time::Duration;

use futures::TryStreamExt;
use object_store::ObjectStore;
use varve_engine::store::fault::FaultRates;
use varve_engine::store::path::wal_lane;
use varve_metasrv::kv::KvStore;
use varve_metasrv::kv::key::{self, Key, SessionKey, SessionState};
use varve_model::id::{NodeEpoch, RegionId};
use varve_model::region::{Route, RouteState};

use super::NEVER;
use crate::cluster::machine::Role;
use crate::cluster::network::Peer;
use crate::cluster::run::Run;
use crate::cluster::way::Way;
use crate::judge::history::{Fate, Freshness};
use crate::judge::read::locate;
use crate::workload::region_of;

/// Longest that a scenario waits for anything.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(20);
/// The number of the client that a scenario writes as; those above are for writers beside it.
const SCENARIO_CLIENT: u64 = 100;
/// Series of a writer, so many that they are in every region.
const SERIES: u64 = 6;

/// What arrives before the scenario's patience is over.
pub(super) async fn within<T>(run: &Run, what: impl Future<Output = T>) -> Result<T, String> {
    let late = run.around.world.clock.sleep(PATIENCE);
    tokio::select! {
        done = what => Ok(done),
        () = late => Err(format!("{NEVER}: a step takes too long")),
    }
}

impl Run {
    /// A cluster with both tables and rows in every region.
    pub(super) async fn begin(&mut self) -> Result<(), String> {
        self.heal()?;
        self.create().await?;
        self.probe().await
    }

    /// Everything works again, and all that was acknowledged is there, also after a restart.
    pub(super) async fn end(&mut self) -> Result<(), String> {
        self.heal()?;
        self.judge_healthy().await?;
        for at in 0..self.machines.len() {
            self.restart(at).await?;
        }
        self.judge_healthy().await?;
        self.probe().await?;
        self.judge_healthy().await?;
        self.around.ledger.check()
    }

    pub(super) async fn restart(&mut self, at: usize) -> Result<(), String> {
        self.machines[at].kill(&self.around).await;
        self.start(at)
    }

    pub(super) async fn until(
        &mut self,
        what: &str,
        mut is_so: impl AsyncFnMut(&mut Self) -> Result<bool, String>,
    ) -> Result<(), String> {
        let deadline = self.around.world.clock.boot() + PATIENCE;
        while !is_so(self).await? {
            if self.around.world.clock.boot() > deadline {
                return Err(format!("{NEVER}: {what} takes too long"));
            }
            self.around.world.clock.sleep(LOOK).await;
        }
        self.around.world.note(what);
        Ok(())
    }

    /// Waits until all regions of a route's owner are open at others.
    pub(super) async fn until_elsewhere(&mut self, route: &Route) -> Result<(), String> {
        self.until("its regions are elsewhere", async |run| {
            let routes = run.routes().await?;
            Ok(routes.iter().all(|now| now.owner != route.owner && now.state == RouteState::Open))
        })
        .await
    }

    /// The routes of both tables.
    pub(super) async fn routes(&self) -> Result<Vec<Route>, String> {
        let door = self.door().ok_or("no frontend runs")?;
        let mut routes = Vec::new();
        for name in ["m", "a"] {
            let located = locate(&*door.metasrv, name).await.map_err(|error| error.to_string())?;
            routes.extend(located.iter().flat_map(|(_, routes)| routes.iter().cloned()));
        }
        Ok(routes)
    }

    pub(super) async fn a_route(&self) -> Result<Route, String> {
        self.routes().await?.last().cloned().ok_or_else(|| "no table".to_owned())
    }

    pub(super) async fn route_of(&self, region: RegionId) -> Result<Route, String> {
        let routes = self.routes().await?;
        routes.into_iter().find(|route| route.region == region).ok_or_else(|| format!("region {region} has no route"))
    }

    /// The machine of a datanode.
    pub(super) fn machine_where(&self, which: impl Fn(u64) -> bool) -> Result<usize, String> {
        let is_it = |at: &usize| match self.machines[*at].peer {
            Peer::Datanode(number) => which(number),
            _ => false,
        };
        (0..self.machines.len()).find(is_it).ok_or_else(|| "there is no such datanode".to_owned())
    }

    pub(super) fn machine_of(&self, route: &Route) -> Result<usize, String> {
        self.machine_where(|number| number == route.node.0)
    }

    pub(super) fn machine_beside(&self, route: &Route) -> Result<usize, String> {
        self.machine_where(|number| number != route.node.0)
    }

    pub(super) fn way(&self, at: usize) -> Result<Way, String> {
        match &self.machines[at].role {
            Role::Datanode { way, .. } => Ok(way.clone()),
            _ => Err("only datanodes have a way to the bucket".to_owned()),
        }
    }

    pub(super) fn bucket_rates(&self, at: usize, rates: FaultRates) {
        if let Role::Datanode { bucket, .. } = &self.machines[at].role {
            bucket.set_rates(rates);
        }
    }

    /// A machine that metasrv cannot reach, and whose clock is so slow that it does not notice.
    pub(super) fn isolate(&self, at: usize) {
        self.machines[at].clock.slow_down(8);
        self.cut_off(at);
    }

    /// A machine that metasrv cannot reach.
    pub(super) fn cut_off(&self, at: usize) {
        let Self { around, machines, .. } = self;
        let peer = machines[at].peer;
        for (metasrv, _) in &around.metasrvs {
            around.network.cut(*metasrv, peer);
            around.network.cut(peer, *metasrv);
        }
    }

    /// What metasrvs answer to a datanode's next beat waits, and so does all that it says after it.
    pub(super) fn delay_the_next_answer(&self, at: usize) {
        let peer = self.machines[at].peer;
        for (metasrv, _) in &self.around.metasrvs {
            self.around.network.stall(*metasrv, peer);
            self.around.network.stall_after_next(peer, *metasrv);
        }
    }

    /// Whether that beat was sent.
    pub(super) fn is_answered(&self, at: usize) -> bool {
        let peer = self.machines[at].peer;
        self.around.metasrvs.iter().all(|(metasrv, _)| self.around.network.is_stalled(peer, *metasrv))
    }

    /// The answer arrives, and it is the last.
    pub(super) async fn deliver_the_answer(&self, at: usize) {
        let peer = self.machines[at].peer;
        for (metasrv, _) in &self.around.metasrvs {
            self.around.network.go_on(*metasrv, peer);
        }
        self.around.world.sleep_millis(50).await;
        self.cut_off(at);
    }

    /// One acknowledged row in a region of the append table, through any frontend.
    pub(super) async fn write_in(&mut self, region: RegionId) -> Result<(), String> {
        let series = (0..100).map(|number| format!("s{number}")).find(|series| region_of(series) == region.number());
        let series = series.ok_or("no series is in the region")?;
        self.until("a row is acknowledged", async |run| {
            let door = run.door().ok_or("no frontend runs")?;
            run.turns += 1;
            let client = run.client(SCENARIO_CLIENT);
            Ok(client.append_to(&door, run.turns, vec![series.clone()]).await == Fate::Acked)
        })
        .await
    }

    /// Reads for a second by a route that is old: the owner that was may refuse, but not answer without what its
    /// successors acknowledged.
    pub(super) async fn read_by_an_old_route(&self, route: &Route) -> Result<(), String> {
        let reader = self.reader(0, Freshness::Strong)?;
        for _ in 0..50 {
            let read = reader.read_by(route, Duration::ZERO).await;
            self.around.world.note(format_args!("the owner that was answers: {read:?}"));
            self.around.world.sleep_millis(20).await;
        }
        Ok(())
    }

    /// Whether metasrv holds a session for alive.
    pub(super) async fn is_live(&self, session: NodeEpoch) -> bool {
        let key = SessionKey(session);
        let found = self.kv.get(&key.text()).await.ok().flatten();
        found
            .and_then(|entry| key::decode(&key, &entry.value).ok())
            .is_some_and(|found| found.state == SessionState::Live)
    }

    /// The slots of a session's lane that are in the bucket.
    pub(super) async fn slots(&self, route: &Route) -> Vec<u64> {
        let folder = wal_lane(route.owner, 0);
        let listed = self.around.world.objects().list(Some(&folder)).try_collect::<Vec<_>>().await.unwrap_or_default();
        let slot = |name: &str| u64::from_str_radix(name.strip_suffix(".wal")?, 16).ok();
        let mut slots = listed.iter().filter_map(|meta| slot(meta.location.filename()?)).collect::<Vec<_>>();
        slots.sort_unstable();
        slots
    }

    /// Rows for every region, through any frontend.
    pub(super) async fn write_everywhere(&mut self) {
        let Some(door) = self.door() else { return };
        self.turns += 1;
        let client = self.client(SCENARIO_CLIENT);
        let series = (0..SERIES).map(|series| client.put_series(&door, self.turns, series));
        futures::join!(futures::future::join_all(series), client.append(&door, self.turns));
    }

    /// Clients that write to every region, once, while the scenario goes on.
    pub(super) fn write_beside(&mut self, round: u64) {
        let Some(door) = self.door() else { return };
        for number in 0..SERIES {
            let client = self.client(SCENARIO_CLIENT + 1 + round * SERIES + number);
            let door = door.clone();
            self.clients.spawn("client", async move {
                client.put_series(&door, 0, number).await;
                client.append(&door, 0).await;
            });
        }
    }
}
