//! Rows of one source for a group of series: what memtable parts and file readers hand to the merge.

use arrow_array::ArrayRef;
use arrow_buffer::ScalarBuffer;
use arrow_select::concat::concat;
use varve_model::id::ColumnId;
use varve_model::schema::StoredType;
use varve_model::{Error, Result};

/// What a reader wants of its sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Projection {
    /// Fields, in the order of [`Piece::columns`].
    pub fields: Vec<(ColumnId, StoredType)>,
    /// Whether timestamps are needed.
    pub ts: bool,
    /// Whether sequences are needed.
    pub seq: bool,
}

/// Sequences of rows.
#[derive(Clone, Debug)]
pub enum Seq {
    /// All rows have this one.
    Constant(u64),
    /// One per row.
    Rows(ScalarBuffer<u64>),
}

impl Seq {
    /// The sequence of a row.
    #[inline]
    pub fn get(&self, row: usize) -> u64 {
        match self {
            Self::Constant(seq) => *seq,
            Self::Rows(rows) => rows[row],
        }
    }
}

/// Rows of one source, series by series.
///
/// Rows of series i of the group are `offsets[i]..offsets[i + 1]`; within a
/// series they are in ascending (ts, sequence) order.
#[derive(Clone, Debug)]
pub struct Piece {
    /// One more than there are series.
    pub offsets: Vec<u32>,
    /// One per row; empty unless asked for.
    pub ts: ScalarBuffer<i64>,
    /// One per row; meaningless unless asked for.
    pub seq: Seq,
    /// Each as long as there are rows.
    pub columns: Vec<ArrayRef>,
    /// Whether no two rows of a series share a timestamp.
    pub unique: bool,
}

impl Piece {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.offsets.last().map_or(0, |&end| end as usize)
    }

    /// Some rows. Precondition: the piece holds one series.
    pub fn slice(&self, start: usize, len: usize) -> Self {
        debug_assert_eq!(self.offsets.len(), 2, "one series");
        let seq = match &self.seq {
            Seq::Constant(seq) => Seq::Constant(*seq),
            Seq::Rows(rows) => Seq::Rows(rows.slice(start, len)),
        };
        Self {
            offsets: vec![0, len as u32],
            ts: self.ts.slice(start, len),
            seq,
            columns: self.columns.iter().map(|column| column.slice(start, len)).collect(),
            unique: self.unique,
        }
    }

    /// These rows and later ones of the same source and series.
    pub fn join(&self, later: &Self) -> Result<Self> {
        let columns = self.columns.iter().zip(&later.columns).map(|(a, b)| concat(&[a.as_ref(), b.as_ref()]));
        let columns = columns.collect::<Result<_, _>>();
        let seq = match (&self.seq, &later.seq) {
            (Seq::Constant(a), Seq::Constant(b)) if a == b => Seq::Constant(*a),
            (a, b) => {
                let of = |seq: &Seq, rows: usize| (0..rows).map(|row| seq.get(row)).collect::<Vec<_>>();
                Seq::Rows([of(a, self.rows()), of(b, later.rows())].concat().into())
            }
        };
        Ok(Self {
            offsets: vec![0, (self.rows() + later.rows()) as u32],
            ts: [&self.ts[..], &later.ts[..]].concat().into(),
            seq,
            columns: columns.map_err(|error| Error::internal("join rows").with_source(error))?,
            unique: self.unique && later.unique,
        })
    }

    /// Rows of one series of the group.
    pub fn run(&self, series: usize) -> std::ops::Range<usize> {
        self.offsets[series] as usize..self.offsets[series + 1] as usize
    }
}

/// Merged rows of several series: what a writer writes and a scan returns.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Series and the number of its rows, in order.
    pub runs: Vec<(u32, u32)>,
    /// One per row; empty unless asked for.
    pub ts: ScalarBuffer<i64>,
    /// One per row; empty unless asked for.
    pub seq: ScalarBuffer<u64>,
    /// The projected fields.
    pub columns: Vec<ArrayRef>,
}

impl Rows {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.runs.iter().map(|run| run.1 as usize).sum()
    }
}
