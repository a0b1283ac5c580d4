//! Parts of a memtable: WAL blocks as they came (level 0), and sealed parts sorted by (series, ts).
//!
//! A block is readable at once: its rows are grouped by series when the first
//! reader asks, and that grouping is kept.

use std::sync::{Arc, OnceLock};

use arrow_array::{ArrayRef, new_null_array};
use varve_model::batch::{FieldColumn, Vector};
use varve_model::id::{ColumnId, Sequence};
use varve_model::schema::StoredType;
use varve_model::time::TimeRange;
use varve_model::{Error, Result};

use crate::format::block::{Block, BlockBody};
use crate::sst::{self, Piece, Projection, Seq};

/// One part. Immutable; cheap to clone.
#[derive(Clone, Debug)]
pub enum Part {
    /// A WAL block of rows.
    Block(Arc<BlockPart>),
    /// Sorted by (series, ts, sequence).
    Sorted(Arc<SortedPart>),
}

/// A WAL block with its rows grouped by series on demand.
#[derive(Debug)]
pub struct BlockPart {
    block: Arc<Block>,
    time: TimeRange,
    groups: OnceLock<(Groups, Vec<u32>)>,
}

/// Rows grouped by series: those of `ids[i]` are at `starts[i]..starts[i + 1]`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Groups {
    /// Distinct, sorted.
    pub ids: Vec<u32>,
    /// One more than ids.
    pub starts: Vec<u32>,
}

/// Rows of several blocks, sorted.
#[derive(Debug)]
pub struct SortedPart {
    pub(super) groups: Groups,
    pub(super) ts: Vec<i64>,
    pub(super) seq: Vec<u64>,
    pub(super) fields: Vec<FieldColumn>,
    pub(super) time: TimeRange,
    pub(super) sequences: (Sequence, Sequence),
    /// Tier: parts of one tier are sealed into one of the next.
    pub(super) tier: u8,
}

impl Groups {
    /// The rows of a series.
    pub fn rows(&self, id: u32) -> std::ops::Range<usize> {
        match self.ids.binary_search(&id) {
            Ok(at) => self.starts[at] as usize..self.starts[at + 1] as usize,
            Err(_) => 0..0,
        }
    }

    /// Groups a column of series ids, stably. Returns the order of rows, too.
    pub(super) fn of(series: &[u32]) -> (Self, Vec<u32>) {
        let (low, high) = series.iter().fold((u32::MAX, 0), |(low, high), &id| (low.min(id), high.max(id)));
        let span = (high as usize + 1).saturating_sub(low as usize);
        let order = if span <= 4 * series.len() + 1024 {
            counting_order(series, low, span)
        } else {
            // Few rows over many series: sort (id, place), which is stable because places differ.
            let mut keyed =
                series.iter().enumerate().map(|(at, &id)| u64::from(id) << 32 | at as u64).collect::<Vec<_>>();
            keyed.sort_unstable();
            keyed.into_iter().map(|key| key as u32).collect()
        };
        let mut groups = Self::default();
        for (place, &row) in order.iter().enumerate() {
            let id = series[row as usize];
            if groups.ids.last() != Some(&id) {
                groups.ids.push(id);
                groups.starts.push(place as u32);
            }
        }
        groups.starts.push(order.len() as u32);
        (groups, order)
    }
}

fn counting_order(series: &[u32], low: u32, span: usize) -> Vec<u32> {
    let mut next = vec![0u32; span + 1];
    for &id in series {
        next[(id - low) as usize + 1] += 1;
    }
    for at in 0..span {
        next[at + 1] += next[at];
    }
    let mut order = vec![0; series.len()];
    for (row, &id) in series.iter().enumerate() {
        let place = &mut next[(id - low) as usize];
        order[*place as usize] = row as u32;
        *place += 1;
    }
    order
}

impl BlockPart {
    /// Precondition: a block of rows.
    pub(super) fn new(block: Arc<Block>) -> Self {
        let time = block.time_range();
        Self { block, time, groups: OnceLock::new() }
    }

    pub(super) fn columns(&self) -> (&[u32], &[i64], &[FieldColumn]) {
        match &self.block.body {
            BlockBody::Rows { series, ts, fields } => (series, ts, fields),
            BlockBody::Delete { .. } => (&[], &[], &[]),
        }
    }

    pub(super) fn first_seq(&self) -> u64 {
        self.block.first_seq.0
    }

    /// Groups and the order of rows by (series, ts, sequence).
    fn groups(&self) -> &(Groups, Vec<u32>) {
        self.groups.get_or_init(|| {
            let (series, ts, _) = self.columns();
            let (groups, mut order) = Groups::of(series);
            for bounds in groups.starts.windows(2) {
                sort_by_ts(&mut order[bounds[0] as usize..bounds[1] as usize], ts);
            }
            (groups, order)
        })
    }
}

/// Sorts rows of one series by ts, stably: of equal timestamps the later row stays last.
pub(super) fn sort_by_ts(rows: &mut [u32], ts: &[i64]) {
    if !rows.is_sorted_by_key(|&row| ts[row as usize]) {
        rows.sort_by_key(|&row| ts[row as usize]);
    }
}

impl Part {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        match self {
            Self::Block(part) => part.columns().1.len(),
            Self::Sorted(part) => part.ts.len(),
        }
    }

    /// Smallest and largest timestamp.
    pub fn time(&self) -> TimeRange {
        match self {
            Self::Block(part) => part.time,
            Self::Sorted(part) => part.time,
        }
    }

    /// Smallest and largest sequence.
    pub fn sequences(&self) -> (Sequence, Sequence) {
        match self {
            Self::Block(part) => (part.block.first_seq, part.block.last_seq()),
            Self::Sorted(part) => part.sequences,
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Block(part) => part.block.bytes_len() as u64,
            Self::Sorted(part) => part.bytes(),
        }
    }

    pub(super) fn tier(&self) -> u8 {
        match self {
            Self::Block(_) => 0,
            Self::Sorted(part) => part.tier,
        }
    }

    /// Rows by series.
    pub fn groups(&self) -> &Groups {
        match self {
            Self::Block(part) => &part.groups().0,
            Self::Sorted(part) => &part.groups,
        }
    }

    /// Rows of these series, in this order, within a time range.
    pub fn piece(&self, ids: &[u32], time: TimeRange, projection: &Projection) -> Result<Piece> {
        let (ts, fields) = match self {
            Self::Block(part) => (part.columns().1, part.columns().2),
            Self::Sorted(part) => (part.ts.as_slice(), part.fields.as_slice()),
        };
        let (rows, offsets) = self.pick(ids, time, ts);
        let columns = projection
            .fields
            .iter()
            .map(|&(column, stored)| gather(fields, column, stored, &rows))
            .collect::<Result<Vec<_>>>()?;
        let seq = match self {
            Self::Block(part) => rows.iter().map(|&row| part.first_seq() + u64::from(row)).collect::<Vec<_>>(),
            Self::Sorted(part) => rows.iter().map(|&row| part.seq[row as usize]).collect(),
        };
        let ts = rows.iter().map(|&row| ts[row as usize]).collect::<Vec<_>>();
        Ok(Piece { offsets, ts: ts.into(), seq: Seq::Rows(seq.into()), columns, unique: false })
    }

    /// Rows of these series within the time range, series by series.
    fn pick(&self, ids: &[u32], time: TimeRange, ts: &[i64]) -> (Vec<u32>, Vec<u32>) {
        let whole = time.intersect(self.time()) == self.time();
        let mut rows = Vec::new();
        let mut offsets = Vec::with_capacity(ids.len() + 1);
        offsets.push(0);
        for &id in ids {
            let run = self.groups().rows(id);
            match self {
                Self::Block(part) => {
                    let order = &part.groups().1[run];
                    rows.extend(order.iter().copied().filter(|&row| whole || time.contains(ts[row as usize])));
                }
                Self::Sorted(_) if whole => rows.extend(run.start as u32..run.end as u32),
                Self::Sorted(_) => {
                    let of_run = &ts[run.clone()];
                    let from = of_run.partition_point(|&ts| ts < time.start);
                    let to = of_run.partition_point(|&ts| ts <= time.end);
                    rows.extend((run.start + from) as u32..(run.start + to.max(from)) as u32);
                }
            }
            offsets.push(rows.len() as u32);
        }
        (rows, offsets)
    }

    /// Timestamps of all rows, in no order.
    pub fn timestamps(&self) -> &[i64] {
        match self {
            Self::Block(part) => part.columns().1,
            Self::Sorted(part) => &part.ts,
        }
    }
}

/// Values of a column at these rows; nulls where the part does not have the column.
fn gather(fields: &[FieldColumn], column: ColumnId, stored: StoredType, rows: &[u32]) -> Result<ArrayRef> {
    match fields.binary_search_by_key(&column, |field| field.column) {
        Err(_) => Ok(new_null_array(&sst::types::field_type(stored), rows.len())),
        Ok(at) if fields[at].stored() == stored => sst::types::array(fields[at].vector.gather(rows)),
        Ok(at) => Err(Error::corrupt(format!(
            "column {column} is stored as {:?} in a WAL block and as {stored:?} in the schema",
            fields[at].stored()
        ))),
    }
}

impl SortedPart {
    fn bytes(&self) -> u64 {
        let fields = self.fields.iter().map(|field| field.vector.bytes_len()).sum::<usize>();
        (self.ts.len() * 16 + self.groups.ids.len() * 8 + fields + size_of::<Self>()) as u64
    }
}

/// Rows of a part as [`super::seal`] reads them.
pub(super) struct Columns<'a> {
    pub(super) ts: &'a [i64],
    pub(super) fields: &'a [FieldColumn],
}

impl Part {
    pub(super) fn sealable(&self) -> Columns<'_> {
        match self {
            Self::Block(part) => Columns { ts: part.columns().1, fields: part.columns().2 },
            Self::Sorted(part) => Columns { ts: &part.ts, fields: &part.fields },
        }
    }

    /// Appends the series id of each row.
    pub(super) fn extend_series(&self, series: &mut Vec<u32>) {
        match self {
            Self::Block(part) => series.extend_from_slice(part.columns().0),
            Self::Sorted(part) => {
                for (id, bounds) in part.groups.ids.iter().zip(part.groups.starts.windows(2)) {
                    series.extend(std::iter::repeat_n(*id, (bounds[1] - bounds[0]) as usize));
                }
            }
        }
    }

    /// Appends the sequence of each row.
    pub(super) fn extend_seq(&self, seq: &mut Vec<u64>) {
        match self {
            Self::Block(part) => seq.extend((0..self.rows() as u64).map(|row| part.first_seq() + row)),
            Self::Sorted(part) => seq.extend_from_slice(&part.seq),
        }
    }
}

/// A vector of a column, if the part has it.
pub(super) fn vector_of(fields: &[FieldColumn], column: ColumnId) -> Option<&Vector> {
    fields.binary_search_by_key(&column, |field| field.column).ok().map(|at| &fields[at].vector)
}
