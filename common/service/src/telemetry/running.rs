//! Gauges of what runs right now, so that one can see that nothing outlives its client.

use std::sync::atomic::{AtomicU64, Ordering};

/// A kind of work that clients wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A client's statement, from its arrival to its last row.
    Statement,
    /// What a datanode reads for a frontend, from the call to the last batch.
    Scan,
}

impl Work {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::Statement, Self::Scan];

    /// The label in `/metrics`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Statement => "statement",
            Self::Scan => "scan",
        }
    }
}

static RUNNING: [AtomicU64; Work::ALL.len()] = [const { AtomicU64::new(0) }; Work::ALL.len()];

/// Counts as running until it is dropped.
#[derive(Debug)]
pub struct Running(Work);

impl Running {
    /// One more runs.
    pub fn begin(work: Work) -> Self {
        RUNNING[work as usize].fetch_add(1, Ordering::Relaxed);
        Self(work)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING[self.0 as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many run now in this process.
pub fn now(work: Work) -> u64 {
    RUNNING[work as usize].load(Ordering::Relaxed)
}
