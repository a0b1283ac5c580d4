//! One source of rows: a memtable part or a bucket of a file.

use std::sync::Arc;

use roaring::RoaringBitmap;
use varve_model::id::Sequence;
use varve_model::time::TimeRange;

use super::group::Counted;
use crate::index::SeriesIndex;
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

/// The series of the sources with their rows, in the order of the key columns.
pub fn series_of(sources: &[Source], index: &SeriesIndex, key_columns: &[String]) -> Vec<Counted> {
    let mut counts = sources.iter().flat_map(Source::counts).collect::<Vec<_>>();
    counts.sort_unstable_by_key(|counted| counted.id);
    counts.dedup_by(|next, kept| {
        let same = next.id == kept.id;
        if same {
            kept.rows += next.rows;
        }
        same
    });
    let ids = counts.iter().map(|counted| counted.id).collect::<RoaringBitmap>();
    let find = |id: u32| counts.binary_search_by_key(&id, |counted| counted.id).ok().map(|at| counts[at]);
    index.sorted(&ids, key_columns).into_iter().filter_map(find).collect()
}

impl Source {
    /// The same with only these series; `None` when none is left.
    pub fn only(&self, wanted: impl Fn(u32) -> bool) -> Option<Self> {
        match self {
            Self::File { file, runs, .. } => {
                let runs = runs.iter().filter(|run| wanted(run.series)).copied().collect::<Vec<_>>();
                let time = runs.iter().fold(TimeRange::EMPTY, |all, run| all.union(run.time));
                (!runs.is_empty()).then(|| Self::File { file: file.clone(), runs, time })
            }
            Self::Memory { part, ids, time } => {
                let ids = ids.iter().copied().filter(|&id| wanted(id)).collect::<Vec<_>>();
                (!ids.is_empty()).then(|| Self::Memory { part: part.clone(), ids, time: *time })
            }
        }
    }

    /// The smallest sequence of its rows, or a smaller one.
    pub fn oldest(&self) -> Sequence {
        match self {
            Self::File { file, .. } => file.meta.seq.0,
            Self::Memory { part, .. } => part.sequences().0,
        }
    }
}
