//! Scenarios: one race each, made to happen, so that what guards against it is tried in every run.
//!
//! Random seeds hit these rarely or never. Each must end without a violation,
//! and with one when its bug is planted.

use std::time::Duration;

use varve_engine::store::fault::FaultRates;
use varve_engine::store::path::{RegionPaths, wal_lane};
use varve_model::id::RegionId;
use varve_model::region::{Route, RouteState};

use super::Shape;
use super::machine::Role;
use super::run::{Run, run};
use super::way::{At, Way};
use crate::judge::read::locate;
use crate::seed::{Outcome, Plan};

/// How the text of a scenario begins that did not get as far as its race.
pub(crate) const NEVER: &str = "the scenario does not come about";
/// Longest that a scenario waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(20);
/// Longer than a log tries one object before it says that nobody knows.
const OUTAGE: Duration = Duration::from_secs(40);

/// A sealer lists a lane, and before it puts its SEAL the owner writes on and trims the slot that looked free.
pub(crate) fn overtaken_sealer(plan: Plan) -> Outcome {
    run(
        plan,
        |_| Shape::SCENARIO,
        async |run| {
            run.begin().await?;
            let route = run.a_route().await?;
            let (zombie, other) = (run.machine_of(&route)?, run.machine_beside(&route)?);
            let lane = wal_lane(route.owner, 0);
            let hold = run.way(other)?.hold(lane, At::End);
            run.isolate(zombie);
            // It flushes and trims while the sealer still waits for its listing.
            run.bucket_rates(zombie, FaultRates::default());
            let before = run.slots(&route).await;
            within(run, hold.reached).await?.map_err(|_| "nobody seals the session")?;
            let free = run.slots(&route).await.last().map_or(0, |slot| slot + 1);
            run.around.world.note(format_args!("a sealer saw {before:?}, slot {free} looks free"));
            run.until("the slot is trimmed", async |run| {
                run.write_everywhere().await;
                let slots = run.slots(&route).await;
                Ok(slots.iter().all(|slot| *slot > free) && !slots.is_empty())
            })
            .await?;
            let _ = hold.release.send(());
            run.until("the session is sealed", async |run| Ok(run.sealed().await.contains(&route.owner))).await?;
            run.look().await?;
            run.end().await
        },
    )
}

/// The bucket does not answer for so long that a log may think of giving its object up, with rows waiting behind it.
pub(crate) fn long_outage(plan: Plan) -> Outcome {
    run(
        plan,
        |_| Shape::SCENARIO,
        async |run| {
            run.begin().await?;
            let at = run.machine_of(&run.a_route().await?)?;
            run.bucket_rates(at, FaultRates { error_before: 1000, ..FaultRates::default() });
            run.write_beside(0);
            run.around.world.clock.sleep(Duration::from_secs(5)).await;
            run.write_beside(1);
            run.around.world.clock.sleep(OUTAGE).await;
            run.heal()?;
            // The log goes on by itself, after a pause.
            run.around.world.clock.sleep(OUTAGE).await;
            run.end().await
        },
    )
}

/// Metadata from a backup says that a session lives which was failed over since; its process was only cut off.
pub(crate) fn revived_session(plan: Plan) -> Outcome {
    run(
        plan,
        |_| Shape::SCENARIO,
        async |run| {
            run.begin().await?;
            let backup = run.kv.backup();
            let route = run.a_route().await?;
            let sleeper = run.machine_of(&route)?;
            run.cut_off(sleeper);
            run.until_elsewhere(&route).await?;
            run.probe().await?;
            let metasrvs = run.restore(&backup).await;
            run.around.network.mend();
            for at in metasrvs {
                run.start(at)?;
            }
            for _ in 0..60 {
                run.look().await?;
                run.around.world.sleep_millis(100).await;
            }
            run.end().await
        },
    )
}

/// An owner that looks for orphans is overtaken by its successor, whose files it then sees.
pub(crate) fn overtaken_sweep(plan: Plan) -> Outcome {
    run(
        plan,
        |_| Shape::SCENARIO,
        async |run| {
            run.begin().await?;
            let route = run.a_route().await?;
            let sweeper = run.machine_of(&route)?;
            let hold = run.way(sweeper)?.hold(RegionPaths::new(route.region).files(), At::Start);
            // Orphans are looked for once after each opening. The clock is slow, so that the listing is not given up.
            run.machines[sweeper].clock.slow_down(3);
            run.restart(sweeper).await?;
            within(run, hold.reached).await?.map_err(|_| "nobody looks for orphans")?;
            let held = run.route_of(route.region).await?;
            run.isolate(sweeper);
            run.until_elsewhere(&held).await?;
            run.until("its files are there", async |run| {
                run.write_everywhere().await;
                let head = run.around.watch.head(route.region).await;
                Ok(head.is_some_and(|head| head.files.iter().any(|file| file.name.epoch > held.epoch)))
            })
            .await?;
            let _ = hold.release.send(());
            run.around.world.sleep_millis(5_000).await;
            run.end().await
        },
    )
}

/// What arrives before the scenario's patience is over.
async fn within<T>(run: &Run, what: impl Future<Output = T>) -> Result<T, String> {
    let late = run.around.world.clock.sleep(PATIENCE);
    tokio::select! {
        done = what => Ok(done),
        () = late => Err(format!("{NEVER}: a step takes too long")),
    }
}

impl Run {
    /// A cluster with both tables and rows in every region.
    async fn begin(&mut self) -> Result<(), String> {
        self.heal()?;
        self.create().await?;
        self.probe().await
    }

    /// Everything works again, and all that was acknowledged is there, also after a restart.
    async fn end(&mut self) -> Result<(), String> {
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

    async fn restart(&mut self, at: usize) -> Result<(), String> {
        self.machines[at].kill(&self.around).await;
        self.start(at)
    }

    async fn until(
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
    async fn until_elsewhere(&mut self, route: &Route) -> Result<(), String> {
        self.until("its regions are elsewhere", async |run| {
            let routes = run.routes().await?;
            Ok(routes.iter().all(|now| now.owner != route.owner && now.state == RouteState::Open))
        })
        .await
    }

    /// The routes of both tables.
    async fn routes(&self) -> Result<Vec<Route>, String> {
        let door = self.door().ok_or("no frontend runs")?;
        let mut routes = Vec::new();
        for name in ["m", "a"] {
            let located = locate(&*door.metasrv, name).await.map_err(|error| error.to_string())?;
            routes.extend(located.iter().flat_map(|(_, routes)| routes.iter().cloned()));
        }
        Ok(routes)
    }

    async fn a_route(&self) -> Result<Route, String> {
        self.routes().await?.last().cloned().ok_or_else(|| "no table".to_owned())
    }

    async fn route_of(&self, region: RegionId) -> Result<Route, String> {
        let routes = self.routes().await?;
        routes.into_iter().find(|route| route.region == region).ok_or_else(|| format!("region {region} has no route"))
    }

    /// The machine of a datanode.
    fn machine_where(&self, which: impl Fn(u64) -> bool) -> Result<usize, String> {
        let is_it = |at: &usize| match self.machines[*at].peer {
            super::network::Peer::Datanode(number) => which(number),
            _ => false,
        };
        (0..self.machines.len()).find(is_it).ok_or_else(|| "there is no such datanode".to_owned())
    }

    fn machine_of(&self, route: &Route) -> Result<usize, String> {
        self.machine_where(|number| number == route.node.0)
    }

    fn machine_beside(&self, route: &Route) -> Result<usize, String> {
        self.machine_where(|number| number != route.node.0)
    }

    fn way(&self, at: usize) -> Result<Way, String> {
        match &self.machines[at].role {
            Role::Datanode { way, .. } => Ok(way.clone()),
            _ => Err("only datanodes have a way to the bucket".to_owned()),
        }
    }

    fn bucket_rates(&self, at: usize, rates: FaultRates) {
        if let Role::Datanode { bucket, .. } = &self.machines[at].role {
            bucket.set_rates(rates);
        }
    }

    /// A machine that metasrv cannot reach, and whose clock is so slow that it does not notice.
    fn isolate(&self, at: usize) {
        self.machines[at].clock.slow_down(8);
        self.cut_off(at);
    }

    /// A machine that metasrv cannot reach.
    fn cut_off(&self, at: usize) {
        let Self { around, machines, .. } = self;
        let peer = machines[at].peer;
        for (metasrv, _) in &around.metasrvs {
            around.network.cut(*metasrv, peer);
            around.network.cut(peer, *metasrv);
        }
    }

    /// The slots of a session's lane that are in the bucket.
    async fn slots(&self, route: &Route) -> Vec<u64> {
        use futures::TryStreamExt;
        use object_store::ObjectStore;
        let folder = wal_lane(route.owner, 0);
        let listed = self.around.world.objects().list(Some(&folder)).try_collect::<Vec<_>>().await.unwrap_or_default();
        let slot = |name: &str| u64::from_str_radix(name.strip_suffix(".wal")?, 16).ok();
        let mut slots = listed.iter().filter_map(|meta| slot(meta.location.filename()?)).collect::<Vec<_>>();
        slots.sort_unstable();
        slots
    }

    /// Rows for every region, through any frontend.
    async fn write_everywhere(&mut self) {
        let Some(door) = self.door() else { return };
        self.turns += 1;
        let client = self.client(SCENARIO_CLIENT);
        let series = (0..SERIES).map(|series| client.put_series(&door, self.turns, series));
        futures::join!(futures::future::join_all(series), client.append(&door, self.turns));
    }

    /// Clients that write to every region, once, while the scenario goes on.
    fn write_beside(&mut self, round: u64) {
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

/// The number of the client that a scenario writes as; those above are for writers beside it.
const SCENARIO_CLIENT: u64 = 100;
/// Series of a writer, so many that they are in every region.
const SERIES: u64 = 6;
