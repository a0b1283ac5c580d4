//! Counters of the caches: how often what was looked for was there.

use std::sync::atomic::{AtomicU64, Ordering};

/// A bounded cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// Optimized plans of statements, on a frontend.
    Plan,
}

/// What a look-up came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// It was there.
    Hit,
    /// It was not, or no more what is needed.
    Miss,
}

impl Cache {
    /// All caches.
    pub const ALL: [Self; 1] = [Self::Plan];

    /// The label in `/metrics`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
        }
    }
}

impl Lookup {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Hit, Self::Miss];

    /// The label in `/metrics`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
        }
    }
}

static LOOKUPS: [[AtomicU64; 2]; Cache::ALL.len()] = [const { [const { AtomicU64::new(0) }; 2] }; Cache::ALL.len()];

/// Counts a look-up.
pub fn count(cache: Cache, lookup: Lookup) {
    LOOKUPS[cache as usize][lookup as usize].fetch_add(1, Ordering::Relaxed);
}

/// Look-ups since the process started.
pub fn total(cache: Cache, lookup: Lookup) -> u64 {
    LOOKUPS[cache as usize][lookup as usize].load(Ordering::Relaxed)
}
