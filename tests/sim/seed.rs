//! What both profiles make of a seed: a runtime of its own in, an outcome out.

use std::collections::BTreeMap;

use tokio::runtime::{Builder, RngSeed};
use varve_engine::fault::bug::{self, Bug};

/// A seed's parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Simulated minutes of faults.
    pub(crate) minutes: u64,
    pub(crate) planted: Option<Bug>,
}

/// What a seed showed.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) violation: Option<String>,
    pub(crate) trace_hash: u64,
    pub(crate) last_events: Vec<String>,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    pub(crate) acked: u64,
}

/// Runs one seed of a profile to its end in this thread, in virtual time.
pub(crate) fn in_virtual_time(plan: Plan, profile: impl AsyncFnOnce(Plan) -> Outcome) -> Outcome {
    bug::set(plan.planted);
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .rng_seed(RngSeed::from_bytes(&plan.seed.to_le_bytes()))
        .build()
        .expect("a runtime");
    let outcome = runtime.block_on(profile(plan));
    bug::set(None);
    outcome
}
