//! The one contract between query languages and the engine.

use serde::{Deserialize, Serialize};

use crate::id::{ColumnId, RegionEpoch, RegionId};
use crate::matcher::Matcher;
use crate::time::TimeRange;

/// What to read of one region.
///
/// Only conditions on tags and time are here: they are the only ones that may
/// act below the merge. A condition on a field below the merge would drop the
/// newer row of a key and show the dead older one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanSpec {
    /// The region.
    pub region: RegionId,
    /// The epoch the reader believes in; another one is `StaleRoute`.
    pub epoch: RegionEpoch,
    /// Rows outside are not returned.
    pub time: TimeRange,
    /// Rows of series that fail one are not returned.
    pub matchers: Vec<Matcher>,
    /// Columns to return, in this order.
    pub columns: Vec<ColumnId>,
}

/// What to tell of one region without reading samples.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DescribeSpec {
    /// Distinct values of a tag over the matching series, sorted.
    TagValues {
        /// Tag name.
        tag: String,
        /// Which series.
        matchers: Vec<Matcher>,
    },
    /// Registry keys of the matching series, in key order.
    Series {
        /// Which series.
        matchers: Vec<Matcher>,
    },
    /// Sizes and counts.
    Statistics,
}

/// Sizes and counts of one region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionStatistics {
    /// Series ever defined.
    pub series: u64,
    /// Rows in memory, before merging.
    pub memtable_rows: u64,
    /// Bytes in memory.
    pub memtable_bytes: u64,
    /// Data files.
    pub files: u64,
    /// Rows in data files, before merging.
    pub file_rows: u64,
    /// Bytes of data files and sidecars.
    pub file_bytes: u64,
    /// Number of the last row sequenced.
    pub sequence: u64,
    /// Rows up to this one are in files.
    pub flushed_to: u64,
    /// Version of the manifest.
    pub manifest_version: u64,
    /// The grant under which it is served.
    pub epoch: RegionEpoch,
}
