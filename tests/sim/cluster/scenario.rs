//! Scenarios: one race each, made to happen, so that what guards against it is tried in every run.
//!
//! Random seeds hit these rarely or never. Each must end without a violation,
//! and with one when its bug is planted.

use std::time::Duration;

use varve_engine::store::fault::FaultRates;
use varve_engine::store::path::{RegionPaths, wal_lane};
use varve_model::region::RouteState;

mod stage;

use super::Shape;
use super::run::{Run, run};
use super::way::At;
use crate::seed::{Outcome, Plan};
use stage::within;

/// How the text of a scenario begins that did not get as far as its race.
pub(crate) const NEVER: &str = "the scenario does not come about";
/// Longer than a log tries one object before it says that nobody knows.
const OUTAGE: Duration = Duration::from_secs(40);

/// A cluster of this shape, through `work`.
fn act(plan: Plan, shape: Shape, work: impl AsyncFnOnce(&mut Run) -> Result<(), String>) -> Outcome {
    run(plan, |_| shape, work)
}

/// A sealer lists a lane, and before it puts its SEAL the owner writes on and trims the slot that looked free.
pub(crate) fn overtaken_sealer(plan: Plan) -> Outcome {
    act(plan, Shape::SCENARIO, async |run| {
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
    })
}

/// The bucket does not answer for so long that a log may think of giving its object up, with rows waiting behind it.
pub(crate) fn long_outage(plan: Plan) -> Outcome {
    act(plan, Shape::SCENARIO, async |run| {
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
    })
}

/// Metadata from a backup says that a session lives which was failed over since; its process was only cut off.
pub(crate) fn revived_session(plan: Plan) -> Outcome {
    act(plan, Shape::SCENARIO, async |run| {
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
    })
}

/// An owner that looks for orphans is overtaken by its successor, whose files it then sees.
pub(crate) fn overtaken_sweep(plan: Plan) -> Outcome {
    act(plan, Shape::SCENARIO, async |run| {
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
    })
}

/// The owner of a log that is trimmed as far as can be writes on, while a sealer that found no room for doubt looks
/// a second time.
pub(crate) fn idle_zombie(plan: Plan) -> Outcome {
    act(plan, Shape::SCENARIO, async |run| {
        run.begin().await?;
        let route = run.a_route().await?;
        let (zombie, other) = (run.machine_of(&route)?, run.machine_beside(&route)?);
        run.until("its log is trimmed", async |run| {
            run.around.world.sleep_millis(500).await;
            Ok(run.slots(&route).await.len() <= 1)
        })
        .await?;
        let (way, lane) = (run.way(other)?, wal_lane(route.owner, 0));
        let first = way.hold(lane.clone(), At::Start);
        run.isolate(zombie);
        within(run, first.reached).await?.map_err(|_| "nobody seals the session")?;
        let second = way.hold(lane, At::End);
        let _ = first.release.send(());
        within(run, second.reached).await?.map_err(|_| "nobody lists the lane again")?;
        run.write_everywhere().await;
        let _ = second.release.send(());
        run.until("the session is sealed", async |run| Ok(run.sealed().await.contains(&route.owner))).await?;
        run.look().await?;
        run.end().await
    })
}

/// A datanode gets the answer to a beat when its lease is nearly over, and none after it. It may answer reads for
/// what is left of the lease, and its successor's rows are acknowledged only then.
pub(crate) fn late_answer(plan: Plan) -> Outcome {
    let shape = Shape { lease_ms: 10_000, ..Shape::SCENARIO };
    act(plan, shape, async |run| {
        run.begin().await?;
        let route = run.a_route().await?;
        let owner = run.machine_of(&route)?;
        run.delay_the_next_answer(owner);
        run.until("its last beat is answered", async |run| Ok(run.is_answered(owner))).await?;
        // Less than two beats, after which it would ask anew.
        run.around.world.sleep_millis(4_800).await;
        run.deliver_the_answer(owner).await;
        run.until_elsewhere(&route).await?;
        run.write_in(route.region).await?;
        run.read_by_an_old_route(&route).await?;
        run.end().await
    })
}

/// Metadata from a backup that was taken amid a failover: what has to be done at once then must not end a session
/// that the backup does not know, while that session may still answer reads.
pub(crate) fn backup_amid_failover(plan: Plan) -> Outcome {
    let shape = Shape { datanodes: 3, ..Shape::SCENARIO };
    act(plan, shape, async |run| {
        run.begin().await?;
        let first = run.a_route().await?;
        run.cut_off(run.machine_of(&first)?);
        run.until("a failover has begun", async |run| Ok(!run.is_live(first.owner).await)).await?;
        let backup = run.kv.backup();
        run.until_elsewhere(&first).await?;
        run.around.network.mend();
        let second = run.route_of(first.region).await?;
        let owner = run.machine_of(&second)?;
        // Its next session is one that the backup does not know.
        run.restart(owner).await?;
        run.until_elsewhere(&second).await?;
        let last = run.route_of(first.region).await?;
        run.write_everywhere().await;
        run.cut_off(owner);
        for at in run.restore(&backup).await {
            run.start(at)?;
        }
        run.until("the region has another owner", async |run| {
            let now = run.route_of(first.region).await;
            Ok(now.is_ok_and(|now| now.owner != last.owner && now.epoch > last.epoch && now.state == RouteState::Open))
        })
        .await?;
        run.write_in(last.region).await?;
        run.read_by_an_old_route(&last).await?;
        run.end().await
    })
}
