//! What the manifest knows of a series index segment.

use serde::{Deserialize, Serialize};
use varve_model::id::{RegionId, SeriesId};

use crate::store::path::FileName;

/// The series defined between two flushes. Key: `r/{hash2}/{origin}/i/{name}.idx`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexSegmentMeta {
    /// Stem of the object name.
    pub name: FileName,
    /// Size of the object.
    pub bytes: u64,
    /// CRC-32C of the object.
    pub crc32c: u32,
    /// Id of the first series.
    pub first: SeriesId,
    /// Number of series; ids are dense.
    pub count: u32,
    /// The region under whose prefix the object lies; this one when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<RegionId>,
}
