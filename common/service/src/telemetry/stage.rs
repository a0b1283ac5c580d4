//! Counters of the write and read path: rows, bytes and thread CPU time per stage.
//!
//! One clock read per batch, so that the cost per row is below a nanosecond.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow_array::RecordBatch;
use futures::{Stream, StreamExt};
use rustix::time::{ClockId, clock_gettime};

#[cfg(test)]
mod tests;

/// A stage of the flows in ARCHITECTURE.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the variants are the stages' names")]
pub enum Stage {
    Decode,
    Resolve,
    Split,
    Sequence,
    WalEncode,
    WalSync,
    Apply,
    Seal,
    FlushEncode,
    Upload,
    Compact,
    IndexMatch,
    Fetch,
    Merge,
    Fragment,
    /// Rows that crossed `DatanodeApi` towards the frontend.
    Exchange,
    /// Rows that crossed from one datanode to another.
    Shuffle,
    Plan,
    Encode,
}

impl Stage {
    /// All stages, in the order of the flows.
    pub const ALL: [Self; 19] = [
        Self::Decode,
        Self::Resolve,
        Self::Split,
        Self::Sequence,
        Self::WalEncode,
        Self::WalSync,
        Self::Apply,
        Self::Seal,
        Self::FlushEncode,
        Self::Upload,
        Self::Compact,
        Self::IndexMatch,
        Self::Fetch,
        Self::Merge,
        Self::Fragment,
        Self::Exchange,
        Self::Shuffle,
        Self::Plan,
        Self::Encode,
    ];

    /// The label in `/metrics`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Resolve => "resolve",
            Self::Split => "split",
            Self::Sequence => "sequence",
            Self::WalEncode => "wal_encode",
            Self::WalSync => "wal_sync",
            Self::Apply => "apply",
            Self::Seal => "seal",
            Self::FlushEncode => "flush_encode",
            Self::Upload => "upload",
            Self::Compact => "compact",
            Self::IndexMatch => "index_match",
            Self::Fetch => "fetch",
            Self::Merge => "merge",
            Self::Fragment => "fragment",
            Self::Exchange => "exchange",
            Self::Shuffle => "shuffle",
            Self::Plan => "plan",
            Self::Encode => "encode",
        }
    }
}

#[derive(Debug)]
struct Counters {
    rows: AtomicU64,
    bytes: AtomicU64,
    cpu_nanos: AtomicU64,
}

static COUNTERS: [Counters; Stage::ALL.len()] =
    [const { Counters { rows: AtomicU64::new(0), bytes: AtomicU64::new(0), cpu_nanos: AtomicU64::new(0) } };
        Stage::ALL.len()];

/// What a stage has done since the process started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageTotals {
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// Thread CPU time.
    pub cpu: Duration,
}

/// Totals of a stage.
pub fn totals(stage: Stage) -> StageTotals {
    let counters = &COUNTERS[stage as usize];
    StageTotals {
        rows: counters.rows.load(Ordering::Relaxed),
        bytes: counters.bytes.load(Ordering::Relaxed),
        cpu: Duration::from_nanos(counters.cpu_nanos.load(Ordering::Relaxed)),
    }
}

fn thread_cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Measures one batch's way through a stage. Start and finish on one thread, without an await between.
#[derive(Debug)]
pub struct StageTimer {
    stage: Stage,
    start: Duration,
}

impl StageTimer {
    /// Starts measuring.
    pub fn start(stage: Stage) -> Self {
        Self { stage, start: thread_cpu() }
    }

    /// Counts the batch.
    pub fn finish(self, rows: usize, bytes: usize) {
        let spent = thread_cpu().saturating_sub(self.start);
        let counters = &COUNTERS[self.stage as usize];
        counters.rows.fetch_add(rows as u64, Ordering::Relaxed);
        counters.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        counters.cpu_nanos.fetch_add(spent.as_nanos() as u64, Ordering::Relaxed);
    }
}

/// Counts rows and bytes of a stage whose time is spent waiting.
pub fn count(stage: Stage, rows: usize, bytes: usize) {
    let counters = &COUNTERS[stage as usize];
    counters.rows.fetch_add(rows as u64, Ordering::Relaxed);
    counters.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
}

/// Counts the batches of a stream as they pass.
pub fn counted<E>(
    stream: impl Stream<Item = Result<RecordBatch, E>>,
    stage: Stage,
) -> impl Stream<Item = Result<RecordBatch, E>> {
    stream.inspect(move |batch| {
        if let Ok(batch) = batch {
            count(stage, batch.num_rows(), batch.get_array_memory_size());
        }
    })
}
