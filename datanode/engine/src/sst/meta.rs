//! What the manifest knows of a data file and of a delete that files do not show.

use serde::{Deserialize, Serialize};
use varve_model::id::{RegionId, SchemaVersion, Sequence, SeriesId};
use varve_model::time::TimeRange;

pub use crate::index::meta::IndexSegmentMeta;
pub use crate::store::path::FileName;

/// A time bucket: `start <= ts < start + width`, in the table's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    /// First timestamp inside.
    pub start: i64,
    /// Length.
    pub width: i64,
}

/// One data file with its sidecar. Immutable; checksums are over whole objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileMeta {
    /// Stem of the object names.
    pub name: FileName,
    /// The region under whose prefix the objects lie.
    pub origin: RegionId,
    /// Added to the file's series ids to get this region's; 0 unless regions were merged.
    pub series_offset: u32,
    /// Size of the data object.
    pub bytes: u64,
    /// CRC-32C of the data object.
    pub crc32c: u32,
    /// Size of the sidecar.
    pub sidecar_bytes: u64,
    /// CRC-32C of the sidecar.
    pub sidecar_crc32c: u32,
    /// Rows.
    pub rows: u64,
    /// Smallest and largest timestamp.
    pub time: TimeRange,
    /// The bucket that holds all rows; `None` for late rows of several buckets.
    pub bucket: Option<Bucket>,
    /// 0 as flushed; higher after compaction.
    pub level: u8,
    /// Reserved for rollups; anything but 0 is refused.
    pub rollup: u8,
    /// Smallest and largest `__seq`.
    pub seq: (Sequence, Sequence),
    /// Whether no two rows share (series, ts).
    pub unique: bool,
    /// The schema of its columns.
    pub schema_version: SchemaVersion,
    /// Id of the series order: the number of primary key columns when it was written
    /// (a primary key only grows at its end, so the number names the order).
    pub order: u32,
    /// Distinct series.
    pub series: u64,
    /// Reserved for splits: only series in this partition key range count. Refused when set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_range: Option<(u64, u64)>,
}

impl FileMeta {
    /// Whether a field is set that is reserved for what this varve does not know.
    pub fn is_newer(&self) -> bool {
        self.rollup != 0 || self.series_offset != 0 || self.key_range.is_some()
    }
}

/// A delete that masks older rows in files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tombstone {
    /// Masks rows with a smaller `__seq`: the `b` of the flush that persisted it.
    pub sequence: Sequence,
    /// Of which series.
    pub series: TombstoneSeries,
    /// Which rows of them.
    pub time: TimeRange,
    /// Reserved for merged regions: the partition key range it concerns. Refused when set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_range: Option<(u64, u64)>,
}

/// The series that a tombstone concerns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TombstoneSeries {
    /// Every series.
    All,
    /// These ids, sorted and distinct.
    Ids(Vec<SeriesId>),
}
