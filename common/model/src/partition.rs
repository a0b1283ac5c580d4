//! How a table's rows are spread over its regions. Pure.
//!
//! A region is a contiguous range of a 64-bit partition key, by default the
//! hash of the canonical series key, so that a region splits by halving its
//! range and a series lives in exactly one region.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Reason, Result};
use crate::limits::REGIONS_MAX;
use crate::series::partition_hash;

#[cfg(test)]
mod tests;

/// One region's share: from `lower` to the next range's `lower`, exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashRange {
    /// First key inside.
    pub lower: u64,
    /// Number of the region within the table.
    pub region: u32,
}

/// A table's partition: ranges sorted by `lower`, the first from 0, so that they cover all keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Never empty.
    pub ranges: Vec<HashRange>,
}

impl Partition {
    /// `regions` equal ranges, numbered from 0. Errors: `InvalidRequest` for 0 or too many.
    pub fn even(regions: u32) -> Result<Self> {
        if regions == 0 || regions > REGIONS_MAX {
            return Err(Error::invalid(format!("regions must be 1 to {REGIONS_MAX}, not {regions}"))
                .with_reason(Reason::BadValue));
        }
        let width = (1u128 << 64) / u128::from(regions);
        let ranges =
            (0..regions).map(|region| HashRange { lower: (width * u128::from(region)) as u64, region }).collect();
        Ok(Self { ranges })
    }

    /// Index into `ranges` of the range that holds this series.
    pub fn range_of(&self, key: &[u8]) -> usize {
        if self.ranges.len() == 1 {
            return 0;
        }
        let hash = partition_hash(key);
        self.ranges.partition_point(|range| range.lower <= hash) - 1
    }
}
