//! Seeded simulation: the real roles, log and engine in one thread under faults.
//!
//! Time, randomness, disk and bucket belong to the simulation. A seed draws the
//! faults and the workload; the same seed gives the same trace. A failure
//! prints the one line that replays it.

mod audit;
mod fault;
mod history;
mod node;
mod read;
mod run;
mod workload;
mod world;

use std::collections::BTreeSet;

use run::{Outcome, run_seed};
use varve_engine::fault::bug::Bug;

/// Seeds of a plain `make test`.
const SEEDS: u64 = 40;
/// Simulated minutes of faults in each.
const MINUTES: u64 = 8;
/// Within so many seeds a planted bug must be found.
const BUG_SEEDS: u64 = 200;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Runs seeds on two threads; the outcomes in seed order.
fn run_seeds(seeds: std::ops::Range<u64>, bug: Option<Bug>, stop_at_first: bool) -> Vec<(u64, Outcome)> {
    let next = std::sync::atomic::AtomicU64::new(seeds.start);
    let outcomes = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let found = stop_at_first
                        && outcomes
                            .lock()
                            .expect("no panic")
                            .iter()
                            .any(|(_, outcome): &(u64, Outcome)| outcome.violation.is_some());
                    if seed >= seeds.end || found {
                        return;
                    }
                    let outcome = run_seed(seed, MINUTES, bug);
                    outcomes.lock().expect("no panic").push((seed, outcome));
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().expect("no panic");
    outcomes.sort_by_key(|(seed, _)| *seed);
    outcomes
}

#[test]
fn no_seed_loses_or_doubles_an_acknowledged_row() {
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let outcomes = run_seeds(0..seeds, None, false);
    let mut happened = BTreeSet::new();
    for (seed, outcome) in &outcomes {
        happened.extend(outcome.faults.keys().copied());
        if let Some(violation) = &outcome.violation {
            panic!(
                "{violation}\nlast events:\n{}\nreplay: VARVE_SEED={seed:#x} make sim-one",
                outcome.last_events.join("\n")
            );
        }
    }
    let acked: u64 = outcomes.iter().map(|(_, outcome)| outcome.acked).sum();
    eprintln!("sim: {seeds} seeds, {acked} operations acknowledged, faults {happened:?}");
    for fault in ["kill", "power loss", "sync error", "bucket errors"] {
        assert!(happened.contains(fault), "{fault} never happened: the harness is blind");
    }
    assert!(acked > 100 * seeds, "only {acked} operations were acknowledged");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [3, 0x5eed] {
        let (first, second) = (run_seed(seed, 2, None), run_seed(seed, 2, None));
        assert_eq!(first.trace_hash, second.trace_hash, "seed {seed:#x} is not deterministic");
    }
}

#[test]
fn every_planted_bug_is_found() {
    for bug in [Bug::AckBeforeFdatasync, Bug::ReplayOffByOne, Bug::NoSyncOnOpen, Bug::TokenAckedWhilePending] {
        let outcomes = run_seeds(0..BUG_SEEDS, Some(bug), true);
        let found = outcomes.iter().find(|(_, outcome)| outcome.violation.is_some());
        let (seed, outcome) = found.unwrap_or_else(|| panic!("{bug:?} was not found in {BUG_SEEDS} seeds"));
        eprintln!("sim: {bug:?} found by seed {seed:#x}: {}", outcome.violation.as_deref().unwrap_or_default());
    }
}

#[test]
fn replay() {
    let Some(seed) = number("VARVE_SEED") else {
        eprintln!("skipped: VARVE_SEED is not set");
        return;
    };
    let outcome = run_seed(seed, MINUTES, None);
    for event in &outcome.last_events {
        eprintln!("{event}");
    }
    assert!(outcome.violation.is_none(), "{}", outcome.violation.unwrap_or_default());
}
