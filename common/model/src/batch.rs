//! The one columnar batch: what split makes, RPC carries, the WAL logs and the memtable holds.
//!
//! Rows are `(series, ts, fields)`. Series are slots of a key table, so that a
//! key travels once per batch and not once per row.

use crate::error::{Error, Result};
use crate::id::{ColumnId, RegionEpoch, RegionId, SchemaVersion, Token};
use crate::schema::StoredType;
use crate::series::SeriesKeys;
use crate::time::TimeRange;

mod bitmap;
#[cfg(test)]
mod tests;
mod vector;

pub use bitmap::Bitmap;
pub use vector::{Bytes, Values, Vector};

/// One field of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldColumn {
    /// The table's column.
    pub column: ColumnId,
    /// One value per row.
    pub vector: Vector,
}

impl FieldColumn {
    /// The type on disk.
    pub fn stored(&self) -> StoredType {
        self.vector.values.stored()
    }
}

/// Rows of one region on their way to its owner.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionBatch {
    /// Where they go.
    pub region: RegionId,
    /// The epoch the sender believes in; another one is `StaleRoute`.
    pub epoch: RegionEpoch,
    /// The schema the columns belong to.
    pub schema_version: SchemaVersion,
    /// Registry keys of the distinct series, one per slot.
    pub keys: SeriesKeys,
    /// Per row: a slot of `keys`.
    pub series: Vec<u32>,
    /// Per row: the timestamp in the table's unit.
    pub ts: Vec<i64>,
    /// Fields, sorted by column id, each as long as `ts`.
    pub fields: Vec<FieldColumn>,
    /// Tokens of the chunks these rows came from; empty when the client asked for none.
    pub tokens: Vec<Token>,
}

impl RegionBatch {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.ts.len()
    }

    /// Smallest and largest timestamp; empty without rows.
    pub fn time_range(&self) -> TimeRange {
        let mut range = TimeRange::EMPTY;
        for &ts in &self.ts {
            range.include(ts);
        }
        range
    }

    /// Bytes held, for accounts.
    pub fn bytes_len(&self) -> usize {
        self.keys.bytes_len()
            + self.ts.len() * 12
            + self.fields.iter().map(|field| field.vector.bytes_len()).sum::<usize>()
    }

    /// Checks what the receiver relies on; bytes from a wire are not trusted.
    /// Errors: `InvalidRequest`.
    pub fn check(&self) -> Result<()> {
        let rows = self.ts.len();
        if self.series.len() != rows {
            return Err(Error::invalid("batch: series and timestamps differ in length"));
        }
        if self.series.iter().any(|&slot| slot as usize >= self.keys.len()) {
            return Err(Error::invalid("batch: a row names a series slot that does not exist"));
        }
        if !self.keys.iter().all(crate::series::is_valid_key) {
            return Err(Error::invalid("batch: a series key is malformed"));
        }
        if self.fields.iter().any(|field| field.vector.len() != rows) {
            return Err(Error::invalid("batch: a field has another length than the timestamps"));
        }
        if self.fields.windows(2).any(|pair| pair[0].column >= pair[1].column) {
            return Err(Error::invalid("batch: fields are not sorted by column id"));
        }
        Ok(())
    }
}
