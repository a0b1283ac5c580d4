//! Planted bugs and what finds each: a harness that finds none of them would prove nothing.

use varve_engine::fault::bug::Bug;
use varve_service::clock::{Clock, SystemClock};

use crate::cluster::scenario::NEVER;
use crate::cluster::{self, scenario};
use crate::seed::Plan;
use crate::{BUG_SEEDS, CLUSTER_MINUTES, MINUTES, Profile, number, run, run_all};

/// What finds a bug.
#[derive(Clone, Copy)]
pub(crate) enum Finder {
    /// Seeds of the standalone profile; one that finds it soon.
    Standalone(u64),
    /// Seeds of the cluster profile; one that finds it soon.
    Cluster(u64),
    /// A scenario.
    Scenario(&'static str, Profile),
    /// Tests of another layer.
    Elsewhere(&'static str),
}

use Finder::{Cluster, Elsewhere, Scenario, Standalone};

/// All scenarios: without a bug nothing is violated in them.
pub(crate) const SCENARIOS: [(&str, Profile); 7] =
    [OVERTAKEN_SEALER, LONG_OUTAGE, REVIVED_SESSION, OVERTAKEN_SWEEP, IDLE_ZOMBIE, LATE_ANSWER, BACKUP_AMID_FAILOVER];
const OVERTAKEN_SEALER: (&str, Profile) = ("overtaken sealer", scenario::overtaken_sealer);
const LONG_OUTAGE: (&str, Profile) = ("long outage", scenario::long_outage);
const REVIVED_SESSION: (&str, Profile) = ("revived session", scenario::revived_session);
const OVERTAKEN_SWEEP: (&str, Profile) = ("overtaken sweep", scenario::overtaken_sweep);
const IDLE_ZOMBIE: (&str, Profile) = ("idle zombie", scenario::idle_zombie);
const LATE_ANSWER: (&str, Profile) = ("late answer", scenario::late_answer);
const BACKUP_AMID_FAILOVER: (&str, Profile) = ("backup amid a failover", scenario::backup_amid_failover);

/// Every planted bug with what finds it; some are found twice.
pub(crate) const FINDERS: [(Bug, Finder); 30] = [
    (Bug::AckBeforeFdatasync, Standalone(0)),
    (Bug::ReplayOffByOne, Standalone(0)),
    (Bug::NoSyncOnOpen, Standalone(0)),
    (Bug::TokenAckedWhilePending, Standalone(39)),
    (Bug::ReplayOffByOne, Cluster(0)),
    (Bug::TokenAckedWhilePending, Cluster(1)),
    (Bug::ValuePruningBeforeMerge, Elsewhere("engine: life of a region")),
    (Bug::NoSeal, Cluster(0)),
    (Bug::NoSealRelist, Scenario(OVERTAKEN_SEALER.0, OVERTAKEN_SEALER.1)),
    (Bug::SealUsedLanesOnly, Cluster(0)),
    (Bug::SealDeleted, Cluster(0)),
    (Bug::TakenIsSuccess, Cluster(16)),
    (Bug::AckBeforePut, Cluster(1)),
    (Bug::TrimOnAck, Cluster(0)),
    (Bug::TrimNewestObject, Scenario(IDLE_ZOMBIE.0, IDLE_ZOMBIE.1)),
    (Bug::SecondBody, Scenario(LONG_OUTAGE.0, LONG_OUTAGE.1)),
    (Bug::ClaimIgnoresSources, Cluster(0)),
    (Bug::ClaimantSeals, Scenario(BACKUP_AMID_FAILOVER.0, BACKUP_AMID_FAILOVER.1)),
    (Bug::NoBoundary, Cluster(0)),
    (Bug::OrphansOfAnyEpoch, Scenario(OVERTAKEN_SWEEP.0, OVERTAKEN_SWEEP.1)),
    (Bug::GcIgnoresPins, Cluster(0)),
    (Bug::GcIgnoresReferences, Standalone(0)),
    (Bug::TombstoneDroppedEarly, Cluster(0)),
    (Bug::CompactionRaisesSequence, Cluster(0)),
    (Bug::MemtableReadTwice, Cluster(0)),
    (Bug::TokenWindowLost, Cluster(1)),
    (Bug::ReadWithoutPermit, Scenario(LATE_ANSWER.0, LATE_ANSWER.1)),
    (Bug::LeaseFromReply, Scenario(LATE_ANSWER.0, LATE_ANSWER.1)),
    (Bug::NoLookAfterLapse, Scenario(REVIVED_SESSION.0, REVIVED_SESSION.1)),
    (Bug::NoLeaderGuard, Cluster(10)),
];

/// Whether known seeds come first or all are tried from 0 on, which tells how many are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    KnownFirst,
    FromZero,
}

/// Runs one finder with its bug planted and prints a line of the table. Errors: it finds nothing.
pub(crate) fn find(bug: Bug, finder: Finder, order: Order) -> Result<(), String> {
    let (profile, how, first, minutes): (Profile, _, _, _) = match finder {
        Standalone(first) => (run::run_seed, "standalone", first, MINUTES),
        Cluster(first) => (cluster::run_seed, "cluster", first, CLUSTER_MINUTES),
        Scenario(name, profile) => (profile, name, 0, 0),
        Elsewhere(layer) => {
            eprintln!("sim: {:<26} {layer}", bug.name());
            return Ok(());
        }
    };
    let is_scenario = matches!(finder, Scenario(..));
    let first = if order == Order::KnownFirst { first } else { 0 };
    let count = if is_scenario { 1 } else { number("SEEDS").unwrap_or(BUG_SEEDS) };
    let clock = SystemClock;
    let start = clock.boot();
    let plans = (first..first + count).map(|seed| Plan { seed, minutes, planted: Some(bug) });
    let outcomes = run_all(profile, plans, true);
    let seconds = clock.boot().saturating_sub(start).as_secs_f64();
    let found = outcomes.iter().find_map(|(seed, outcome)| Some((seed, outcome.violation.as_ref()?)));
    let Some((seed, violation)) = found else {
        return Err(format!("{} was not found by {how} in {count} seeds, {seconds:.0} s", bug.name()));
    };
    if violation.contains(NEVER) {
        return Err(format!("{}: {violation}", bug.name()));
    }
    let violation = violation.chars().take(120).collect::<String>();
    eprintln!("sim: {:<26} {how:<18} seed {seed:<3} {seconds:>6.1} s  {violation}", bug.name());
    Ok(())
}

/// Finds all bugs that `which` names. Panics with those that were not found.
pub(crate) fn find_all(order: Order, which: impl Fn(Bug, Finder) -> bool) {
    let failed = FINDERS.into_iter().filter(|(bug, finder)| which(*bug, *finder));
    let failed = failed.filter_map(|(bug, finder)| find(bug, finder, order).err()).collect::<Vec<_>>();
    assert!(failed.is_empty(), "the harness is blind: {failed:#?}");
}
