//! Deletes: which rows they mask.

use roaring::RoaringBitmap;
use varve_model::id::{Sequence, SeriesId};
use varve_model::time::TimeRange;

use crate::sst::meta::{Tombstone, TombstoneSeries};

/// A delete ready to be tried on rows: it masks those with a smaller sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Mask {
    /// Rows from this sequence on are not concerned.
    pub sequence: Sequence,
    /// Which series; all when `None`.
    pub series: Option<RoaringBitmap>,
    /// Which of their rows.
    pub time: TimeRange,
}

impl Mask {
    /// A mask from the parts of a delete.
    pub fn new(sequence: Sequence, series: Option<&[SeriesId]>, time: TimeRange) -> Self {
        Self { sequence, series: series.map(|ids| ids.iter().map(|id| id.0).collect()), time }
    }

    /// Whether rows of this series are concerned.
    pub fn concerns(&self, series: u32) -> bool {
        self.series.as_ref().is_none_or(|ids| ids.contains(series))
    }

    /// The tombstone that has the same effect on files once the rows up to `flushed_to` are in files.
    pub fn tombstone(&self, flushed_to: Sequence) -> Tombstone {
        let series = match &self.series {
            None => TombstoneSeries::All,
            Some(ids) => TombstoneSeries::Ids(ids.iter().map(SeriesId).collect()),
        };
        Tombstone { sequence: flushed_to, series, time: self.time, key_range: None }
    }
}

impl From<&Tombstone> for Mask {
    fn from(tombstone: &Tombstone) -> Self {
        let series = match &tombstone.series {
            TombstoneSeries::All => None,
            TombstoneSeries::Ids(ids) => Some(ids.as_slice()),
        };
        Self::new(tombstone.sequence, series, tombstone.time)
    }
}
