//! Counters of what frontends ask datanodes, by verb.

use std::sync::atomic::{AtomicU64, Ordering};

/// A verb of `DatanodeApi`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are the verbs")]
pub enum Verb {
    Write,
    Scan,
    Describe,
}

impl Verb {
    /// All verbs.
    pub const ALL: [Self; 3] = [Self::Write, Self::Scan, Self::Describe];

    /// The label in `/metrics`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Scan => "scan",
            Self::Describe => "describe",
        }
    }
}

static REQUESTS: [AtomicU64; Verb::ALL.len()] = [const { AtomicU64::new(0) }; Verb::ALL.len()];

/// Counts a request that a datanode of this process takes.
pub fn count(verb: Verb) {
    REQUESTS[verb as usize].fetch_add(1, Ordering::Relaxed);
}

/// Requests since the process started.
pub fn total(verb: Verb) -> u64 {
    REQUESTS[verb as usize].load(Ordering::Relaxed)
}
