//! The merge of one group of series: pieces in, one run per series out.
//!
//! Of equal (series, ts) the mode decides. A row that a delete masks or that
//! lies outside the time range is no competitor; nothing else is left out before
//! rows have competed (a condition on a value would drop the newer row and show
//! the dead older one).

use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use arrow_buffer::ScalarBuffer;
use arrow_select::concat::concat;
use arrow_select::interleave::interleave;
use varve_model::table::MergeMode;
use varve_model::time::TimeRange;
use varve_model::{Error, Result};
use varve_service::telemetry::stage::{Stage, StageTimer};

use crate::fault::bug::{self, Bug};
use crate::memtable::Mask;
use crate::sst::{Piece, Rows};

/// Rows per copied range from which copying ranges beats copying rows.
const RANGE_ROWS: usize = 32;

/// What decides between rows.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How rows of one key merge.
    pub mode: MergeMode,
    /// Rows outside are dropped.
    pub time: TimeRange,
    /// Deletes that may concern the rows.
    pub masks: Vec<Arc<Mask>>,
}

/// One row on its way through the merge.
#[derive(Clone, Copy)]
struct Entry {
    ts: i64,
    seq: u64,
    piece: u32,
    row: u32,
}

/// Merges groups; keeps its buffers between them.
pub struct Merger {
    rules: Rules,
    entries: Vec<Entry>,
    out: Output,
}

impl std::fmt::Debug for Merger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Merger").field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// Chosen rows as ranges of pieces.
#[derive(Default)]
struct Output {
    runs: Vec<(u32, u32)>,
    ranges: Vec<(u32, u32, u32)>,
    rows: usize,
    /// last_non_null: (row of the output, column, piece, row) where a field comes from an older row.
    patches: Vec<(usize, usize, u32, u32)>,
}

impl Output {
    fn push(&mut self, piece: u32, start: u32, len: u32) {
        match self.ranges.last_mut() {
            Some((last, from, count)) if *last == piece && *from + *count == start => *count += len,
            _ => self.ranges.push((piece, start, len)),
        }
        self.rows += len as usize;
    }
}

impl Merger {
    /// A merger under these rules.
    pub fn new(rules: Rules) -> Self {
        Self { rules, entries: Vec::new(), out: Output::default() }
    }

    /// Merges the pieces of one group of series. All pieces have the same columns.
    ///
    /// Precondition: with more than one piece, a mask or a partly covered time
    /// range, pieces have timestamps and sequences.
    pub fn merge(&mut self, ids: &[u32], pieces: &[Piece]) -> Result<Rows> {
        let timer = StageTimer::start(Stage::Merge);
        self.out = Output::default();
        let whole = |piece: &Piece| piece.ts.is_empty() || piece.ts.iter().all(|&ts| self.rules.time.contains(ts));
        let whole = pieces.iter().map(whole).collect::<Vec<_>>();
        let masks = std::mem::take(&mut self.rules.masks);
        for (series, &id) in ids.iter().enumerate() {
            let before = self.out.rows;
            let masked = masks.iter().any(|mask| mask.concerns(id));
            let mut with_rows = (0..pieces.len()).filter(|&at| !pieces[at].run(series).is_empty());
            let (first, second) = (with_rows.next(), with_rows.next());
            match (first, second) {
                (None, _) => continue,
                (Some(at), None) if !masked && whole[at] && self.stands(&pieces[at], series) => {
                    let run = pieces[at].run(series);
                    self.out.push(at as u32, run.start as u32, run.len() as u32);
                }
                _ => {
                    let of_series = masks.iter().filter(|mask| masked && mask.concerns(id));
                    self.collect(pieces, series, &of_series.map(|mask| &**mask).collect::<Vec<_>>());
                    self.resolve(pieces);
                }
            }
            let rows = self.out.rows - before;
            if rows > 0 {
                self.out.runs.push((id, rows as u32));
            }
        }
        self.rules.masks = masks;
        let rows = self.gather(pieces);
        timer.finish(self.out.rows, 0);
        rows
    }

    /// Whether a run of one piece needs no merging.
    fn stands(&self, piece: &Piece, series: usize) -> bool {
        self.rules.mode == MergeMode::Append
            || piece.unique
            || piece.ts[piece.run(series)].windows(2).all(|pair| pair[0] < pair[1])
    }

    /// Rows of one series that compete, by (ts, sequence); of equal ones the later place is last.
    fn collect(&mut self, pieces: &[Piece], series: usize, masks: &[&Mask]) {
        let time = self.rules.time;
        self.entries.clear();
        for (at, piece) in pieces.iter().enumerate() {
            for row in piece.run(series) {
                let (ts, seq) = (piece.ts[row], piece.seq.get(row));
                let masked = masks.iter().any(|mask| seq < mask.sequence.0 && mask.time.contains(ts));
                if time.contains(ts) && !masked {
                    self.entries.push(Entry { ts, seq, piece: at as u32, row: row as u32 });
                }
            }
        }
        if !self.entries.is_sorted_by_key(|entry| (entry.ts, entry.seq)) {
            self.entries.sort_by_key(|entry| (entry.ts, entry.seq));
        }
    }

    /// Chooses among rows of one key by the mode.
    fn resolve(&mut self, pieces: &[Piece]) {
        let mut at = 0;
        while at < self.entries.len() {
            let ts = self.entries[at].ts;
            let mut end = at + 1;
            if self.rules.mode != MergeMode::Append {
                while end < self.entries.len() && self.entries[end].ts == ts {
                    end += 1;
                }
            }
            let winner = if bug::is(Bug::ValuePruningBeforeMerge) {
                // What a pruned newer row leaves behind.
                self.entries[at]
            } else {
                self.entries[end - 1]
            };
            if self.rules.mode == MergeMode::LastNonNull && end - at > 1 {
                patch(&mut self.out, &self.entries[at..end], pieces);
            }
            self.out.push(winner.piece, winner.row, 1);
            at = end;
        }
    }

    fn gather(&self, pieces: &[Piece]) -> Result<Rows> {
        let out = &self.out;
        let columns = pieces.first().map_or(0, |piece| piece.columns.len());
        let columns = (0..columns).map(|column| self.column(pieces, column)).collect::<Result<Vec<_>>>()?;
        let with_ts = pieces.iter().any(|piece| !piece.ts.is_empty());
        let ts = if with_ts { pick(out, |piece| pieces[piece as usize].ts.clone()) } else { Vec::new().into() };
        let mut seq = Vec::with_capacity(out.rows);
        for &(piece, start, len) in &out.ranges {
            seq.extend((start..start + len).map(|row| pieces[piece as usize].seq.get(row as usize)));
        }
        Ok(Rows { runs: out.runs.clone(), ts, seq: seq.into(), columns })
    }

    fn column(&self, pieces: &[Piece], column: usize) -> Result<ArrayRef> {
        let failed = |error| Error::internal("merge rows").with_source(error);
        let out = &self.out;
        let array = |piece: u32| &pieces[piece as usize].columns[column];
        let patched = out.patches.iter().any(|patch| patch.1 == column);
        if !patched {
            if let [(piece, start, len)] = out.ranges[..] {
                return Ok(array(piece).slice(start as usize, len as usize));
            }
            if !out.ranges.is_empty() && out.rows >= RANGE_ROWS * out.ranges.len() {
                let slices =
                    out.ranges.iter().map(|&(piece, start, len)| array(piece).slice(start as usize, len as usize));
                let slices = slices.collect::<Vec<_>>();
                return concat(&slices.iter().map(|slice| slice.as_ref()).collect::<Vec<_>>()).map_err(failed);
            }
        }
        let mut places = Vec::with_capacity(out.rows);
        for &(piece, start, len) in &out.ranges {
            places.extend((start..start + len).map(|row| (piece as usize, row as usize)));
        }
        for &(row, _, piece, from) in out.patches.iter().filter(|patch| patch.1 == column) {
            places[row] = (piece as usize, from as usize);
        }
        let arrays = pieces.iter().map(|piece| piece.columns[column].as_ref()).collect::<Vec<&dyn Array>>();
        interleave(&arrays, &places).map_err(failed)
    }
}

/// Fields of the winner that are null come from the newest older row that has them.
fn patch(out: &mut Output, rivals: &[Entry], pieces: &[Piece]) {
    let winner = rivals[rivals.len() - 1];
    for column in 0..pieces[winner.piece as usize].columns.len() {
        let has = |entry: &&Entry| pieces[entry.piece as usize].columns[column].is_valid(entry.row as usize);
        if let Some(source) = rivals.iter().rev().find(has)
            && (source.piece, source.row) != (winner.piece, winner.row)
        {
            out.patches.push((out.rows, column, source.piece, source.row));
        }
    }
}

fn pick(out: &Output, ts: impl Fn(u32) -> ScalarBuffer<i64>) -> ScalarBuffer<i64> {
    if let [(piece, start, len)] = out.ranges[..] {
        return ts(piece).slice(start as usize, len as usize);
    }
    let mut picked = Vec::with_capacity(out.rows);
    for &(piece, start, len) in &out.ranges {
        picked.extend_from_slice(&ts(piece)[start as usize..(start + len) as usize]);
    }
    picked.into()
}
