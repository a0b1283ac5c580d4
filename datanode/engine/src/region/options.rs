//! Bounds and periods of an engine, in one place so that tests and the simulation can make them tiny.

use std::time::Duration;

use varve_model::limits::QUERY_TIMEOUT;

use crate::flush::schedule::FlushPolicy;
use crate::wal::local::LocalOptions;
use crate::wal::object::ObjectOptions;

/// Bounds and periods; tests use tiny ones.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// The local log.
    pub wal: LocalOptions,
    /// The log in the bucket.
    pub object: ObjectOptions,
    /// When regions are flushed.
    pub flush: FlushPolicy,
    /// Share of the engine's memory that memtables may take, in percent.
    pub memtable_percent: u64,
    /// Share that flush, compaction and scans may take, in percent; above that of memtables, or a full memtable
    /// could never be flushed.
    pub background_percent: u64,
    /// Share that series indexes may take, in percent; above it new series are refused.
    pub index_percent: u64,
    /// Versions between two manifest checkpoints.
    pub checkpoint_every: u64,
    /// Writes that may wait for a region's writer.
    pub region_queue_max: usize,
    /// How often flush, compaction and deletion are looked at.
    pub tick: Duration,
    /// How often compaction is looked at.
    pub compact_every: Duration,
    /// How long a file that left the manifest is kept: twice the longest query.
    pub delete_grace: Duration,
    /// Smallest age of an orphan.
    pub orphan_age: Duration,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            wal: LocalOptions::default(),
            object: ObjectOptions::default(),
            flush: FlushPolicy::default(),
            memtable_percent: 35,
            background_percent: 40,
            index_percent: 25,
            checkpoint_every: crate::manifest::CHECKPOINT_EVERY,
            region_queue_max: 256,
            tick: Duration::from_millis(500),
            compact_every: Duration::from_secs(30),
            delete_grace: 2 * QUERY_TIMEOUT,
            orphan_age: Duration::from_hours(24),
        }
    }
}
