//! The WAL block, decoded: one region's rows as sequenced, logged and held in memory.
//!
//! One type for all three, so that what was appended is what is applied and no
//! second encoding can differ from the first.

use varve_model::batch::FieldColumn;
use varve_model::id::{RegionEpoch, RegionId, SchemaVersion, Sequence, SeriesId, Token};
use varve_model::series::SeriesKeys;
use varve_model::time::TimeRange;

mod codec;
#[cfg(test)]
mod tests;

pub use codec::{BlockHead, decode, encode, head};

/// One block. Also the memtable's level-0 part, shared by `Arc`.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// Whose rows.
    pub region: RegionId,
    /// The grant under which they were sequenced.
    pub epoch: RegionEpoch,
    /// The schema the columns belong to.
    pub schema_version: SchemaVersion,
    /// Number of the first row; row i has `first_seq + i`.
    pub first_seq: Sequence,
    /// Tokens of the request chunks these rows came from.
    pub tokens: Vec<Token>,
    /// Id of the first series defined here; the others follow densely.
    pub first_new_series: SeriesId,
    /// Registry keys of the series defined here, in id order.
    pub new_series: SeriesKeys,
    /// What happened.
    pub body: BlockBody,
}

/// What a block does to its region.
#[derive(Clone, Debug, PartialEq)]
pub enum BlockBody {
    /// Adds rows.
    Rows {
        /// Per row: the dense series id.
        series: Vec<u32>,
        /// Per row: the timestamp in the table's unit.
        ts: Vec<i64>,
        /// Fields, sorted by column id, each as long as `ts`.
        fields: Vec<FieldColumn>,
    },
    /// Removes older rows: those with a smaller sequence. Takes exactly one sequence number.
    Delete {
        /// Of which series, sorted; all when `None`.
        series: Option<Vec<SeriesId>>,
        /// Which rows of them.
        time: TimeRange,
    },
}

impl Block {
    /// Sequence numbers taken; a delete takes one.
    pub fn rows(&self) -> u64 {
        match &self.body {
            BlockBody::Rows { ts, .. } => ts.len() as u64,
            BlockBody::Delete { .. } => 1,
        }
    }

    /// Number of the last row. Precondition: the block is not empty.
    pub fn last_seq(&self) -> Sequence {
        Sequence(self.first_seq.0 + self.rows() - 1)
    }

    /// Smallest and largest timestamp of the rows, or the deleted range.
    pub fn time_range(&self) -> TimeRange {
        match &self.body {
            BlockBody::Rows { ts, .. } => {
                let mut range = TimeRange::EMPTY;
                for &ts in ts {
                    range.include(ts);
                }
                range
            }
            BlockBody::Delete { time, .. } => *time,
        }
    }

    /// Bytes held in memory, for accounts.
    pub fn bytes_len(&self) -> usize {
        let body = match &self.body {
            BlockBody::Rows { ts, fields, .. } => {
                ts.len() * 12 + fields.iter().map(|field| field.vector.bytes_len()).sum::<usize>()
            }
            BlockBody::Delete { series, .. } => series.as_ref().map_or(0, |series| series.len() * 4),
        };
        body + self.new_series.bytes_len() + self.tokens.len() * 16 + size_of::<Self>()
    }
}
