//! One source of rows: a memtable part or a bucket of a file.

use std::sync::Arc;

use roaring::RoaringBitmap;
use varve_model::time::TimeRange;

use super::group::Counted;
use crate::memtable::Part;
use crate::sst::{OpenFile, Run};

/// A source, cut down to the wanted series and time.
#[derive(Clone, Debug)]
pub enum Source {
    /// A bucket of a file.
    File {
        /// The file.
        file: Arc<OpenFile>,
        /// The wanted runs, in file order.
        runs: Vec<Run>,
        /// Smallest and largest timestamp of the runs.
        time: TimeRange,
    },
    /// A part of a memtable.
    Memory {
        /// The part.
        part: Part,
        /// The wanted series, sorted.
        ids: Vec<u32>,
        /// The wanted rows.
        time: TimeRange,
    },
}

impl Source {
    /// The buckets of a file that have wanted rows.
    pub fn of_file(file: &Arc<OpenFile>, ids: Option<&RoaringBitmap>, time: TimeRange) -> Vec<Self> {
        let touched = file.segments().iter().filter(|segment| segment.time.overlaps(time));
        touched
            .filter_map(|segment| {
                let runs = file.pick(segment, ids, time);
                let covered = runs.iter().fold(TimeRange::EMPTY, |all, run| all.union(run.time));
                (!runs.is_empty()).then(|| Self::File { file: file.clone(), runs, time: covered })
            })
            .collect()
    }

    /// A memtable part, if it has wanted rows.
    pub fn of_part(part: &Part, ids: Option<&RoaringBitmap>, time: TimeRange) -> Option<Self> {
        let time = part.time().intersect(time);
        if time.is_empty() {
            return None;
        }
        let all = &part.groups().ids;
        let ids = match ids {
            None => all.clone(),
            // From the smaller side: a part has many series and a query often wants one.
            Some(wanted) if wanted.len() < all.len() as u64 / 16 => {
                wanted.iter().filter(|id| all.binary_search(id).is_ok()).collect()
            }
            Some(wanted) => all.iter().copied().filter(|&id| wanted.contains(id)).collect(),
        };
        (!ids.is_empty()).then(|| Self::Memory { part: part.clone(), ids, time })
    }

    /// Smallest and largest timestamp.
    pub fn time(&self) -> TimeRange {
        match self {
            Self::File { time, .. } | Self::Memory { time, .. } => *time,
        }
    }

    /// Series with rows, in no order; upper bounds where the time range cuts a series.
    pub fn counts(&self) -> Vec<Counted> {
        match self {
            Self::File { runs, .. } => {
                runs.iter().map(|run| Counted { id: run.series, rows: u64::from(run.rows) }).collect()
            }
            Self::Memory { part, ids, .. } => {
                ids.iter().map(|&id| Counted { id, rows: part.groups().rows(id).len() as u64 }).collect()
            }
        }
    }
}
