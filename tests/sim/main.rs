//! Seeded simulation: the real roles, log and engine in one thread under faults.
//!
//! Time, randomness, disk and bucket belong to the simulation. A seed draws the
//! faults and the workload; the same seed gives the same trace. A failure
//! prints the one line that replays it.

mod bugs;
mod cluster;
mod door;
mod fault;
mod judge;
mod node;
mod run;
mod seed;
mod workload;
mod world;

use std::collections::BTreeSet;
use std::ops::Range;

use bugs::{Finder, Order};
use parking_lot::Mutex;
use seed::{Outcome, Plan};
use varve_engine::fault::bug::Bug;

/// A profile: runs a seed to its end.
type Profile = fn(Plan) -> Outcome;

/// Seeds of a plain `make test`.
const SEEDS: u64 = 40;
/// Seeds of clusters in it.
const CLUSTER_SEEDS: u64 = 30;
/// Simulated minutes of faults in each.
const MINUTES: u64 = 8;
const CLUSTER_MINUTES: u64 = 4;
/// Within so many seeds a planted bug must be found.
const BUG_SEEDS: u64 = 200;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Runs plans on two threads, until the first violation if told so; the outcomes in the order of the seeds.
fn run_all(profile: Profile, plans: impl Iterator<Item = Plan> + Send, stop_at_first: bool) -> Vec<(u64, Outcome)> {
    let plans = Mutex::new(plans);
    let outcomes = Mutex::new(Vec::<(u64, Outcome)>::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let next = plans.lock().next();
                    let found = stop_at_first && outcomes.lock().iter().any(|(_, outcome)| outcome.violation.is_some());
                    let Some(plan) = next.filter(|_| !found) else {
                        return;
                    };
                    let outcome = profile(plan);
                    outcomes.lock().push((plan.seed, outcome));
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner();
    outcomes.sort_by_key(|(seed, _)| *seed);
    outcomes
}

/// Runs seeds that must show no violation; the faults that happened.
fn no_violation(name: &str, profile: Profile, seeds: Range<u64>, minutes: u64) -> BTreeSet<&'static str> {
    let count = seeds.end - seeds.start;
    let outcomes = run_all(profile, seeds.map(|seed| Plan { seed, minutes, planted: None }), false);
    let mut happened = BTreeSet::new();
    let mut failed = Vec::new();
    for (seed, outcome) in &outcomes {
        happened.extend(outcome.faults.keys().copied());
        if let Some(violation) = &outcome.violation {
            eprintln!("{violation}\nlast events:\n{}", outcome.last_events.join("\n"));
            eprintln!("replay: VARVE_SIM_PROFILE={name} VARVE_SEED={seed:#x} make sim-one");
            failed.push((seed, violation));
        }
    }
    assert!(failed.is_empty(), "{name}: {} of {count} seeds failed: {failed:#?}", failed.len());
    let acked: u64 = outcomes.iter().map(|(_, outcome)| outcome.acked).sum();
    eprintln!("sim: {name}: {count} seeds, {acked} appends acknowledged, faults {happened:?}");
    assert!(acked > 20 * count, "only {acked} appends were acknowledged");
    happened
}

/// The seeds to run: `SEEDS` of them from `FIRST_SEED` on.
fn seeds(default: u64) -> Range<u64> {
    let first = number("FIRST_SEED").unwrap_or(0);
    first..first + number("SEEDS").unwrap_or(default)
}

#[test]
fn no_seed_loses_or_doubles_an_acknowledged_row() {
    let happened = no_violation("standalone", run::run_seed, seeds(SEEDS), MINUTES);
    for fault in ["kill", "power loss", "sync error", "bucket errors"] {
        assert!(happened.contains(fault), "{fault} never happened: the harness is blind");
    }
}

#[test]
fn no_seed_of_a_cluster_loses_or_doubles_an_acknowledged_row() {
    let happened = no_violation("cluster", cluster::run_seed, seeds(CLUSTER_SEEDS), CLUSTER_MINUTES);
    assert!(happened.len() >= cluster::FAULT_KINDS, "some faults never happened: the harness is blind");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for profile in [run::run_seed as Profile, cluster::run_seed] {
        for seed in [3, 0x5eed] {
            let plan = Plan { seed, minutes: 2, planted: None };
            let (first, second) = (profile(plan), profile(plan));
            assert_eq!(first.trace_hash, second.trace_hash, "seed {seed:#x} is not deterministic");
        }
    }
}

#[test]
fn every_planted_bug_of_a_node_is_found() {
    bugs::find_all(Order::KnownFirst, |_, finder| matches!(finder, Finder::Standalone(_)));
}

#[test]
fn every_planted_bug_of_a_cluster_is_found() {
    bugs::find_all(Order::KnownFirst, |_, finder| !matches!(finder, Finder::Standalone(_)));
}

#[test]
fn every_planted_bug_has_a_finder() {
    for (bug, name) in Bug::ALL {
        assert!(bugs::FINDERS.iter().any(|(found, _)| *found == bug), "nothing looks for {name}");
    }
}

#[test]
fn no_scenario_violates_an_invariant() {
    for (name, scenario) in bugs::SCENARIOS {
        let outcome = scenario(Plan { seed: 0, minutes: 0, planted: None });
        let events = outcome.last_events.join("\n");
        assert!(outcome.violation.is_none(), "{name}: {}\n{events}", outcome.violation.unwrap_or_default());
    }
}

/// Looks for the bug that `VARVE_BUG` names, or for `all`, in seeds from 0 on: `make bugs`.
#[test]
fn search() {
    let Ok(name) = std::env::var("VARVE_BUG") else {
        eprintln!("skipped: VARVE_BUG is not set");
        return;
    };
    let wanted = (name != "all").then(|| name.parse::<Bug>().expect("a bug"));
    bugs::find_all(Order::FromZero, |bug, _| wanted.is_none_or(|wanted| wanted == bug));
}

/// The profile that `VARVE_SIM_PROFILE` names.
fn profile() -> Profile {
    match std::env::var("VARVE_SIM_PROFILE").as_deref() {
        Ok("cluster") => cluster::run_seed,
        Ok(name) => {
            let found = bugs::SCENARIOS.iter().find(|(known, _)| *known == name);
            found.map_or(run::run_seed, |(_, run)| *run)
        }
        Err(_) => run::run_seed,
    }
}

#[test]
fn replay() {
    let Some(seed) = number("VARVE_SEED") else {
        eprintln!("skipped: VARVE_SEED is not set");
        return;
    };
    if let Ok(filter) = std::env::var("VARVE_SIM_LOG") {
        tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().init();
    }
    let is_cluster = std::env::var("VARVE_SIM_PROFILE").as_deref() == Ok("cluster");
    let minutes = number("MINUTES").unwrap_or(if is_cluster { CLUSTER_MINUTES } else { MINUTES });
    let planted = std::env::var("VARVE_BUG").ok().map(|name| name.parse().expect("a bug"));
    let outcome = profile()(Plan { seed, minutes, planted });
    for event in &outcome.last_events {
        eprintln!("{event}");
    }
    assert!(outcome.violation.is_none(), "{}", outcome.violation.unwrap_or_default());
}
