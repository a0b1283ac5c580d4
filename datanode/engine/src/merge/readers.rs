//! Reading the sources of a merge side by side: a group of series at once, or one long series in steps.
//!
//! A series may have more rows than fit in memory. It is then read in steps:
//! each step hands out the rows before the earliest time at which some source
//! may still have more, so that all rows of one timestamp compete in one step.

use varve_model::Result;
use varve_model::id::ColumnId;
use varve_model::time::{TimeRange, TimeUnit};

use super::source::Source;
use crate::memtable::Part;
use crate::sst::{Cursor, Piece, Projection};
use crate::store::FileContext;

/// The sources of a merge, opened.
#[derive(Debug)]
pub struct Readers {
    sources: Vec<Reader>,
    projection: Projection,
    long: Option<Long>,
}

#[derive(Debug)]
enum Reader {
    File(Box<Cursor>),
    Memory(Part, TimeRange),
}

/// A long series on its way.
#[derive(Debug)]
struct Long {
    id: u32,
    rows_max: u32,
    tails: Vec<Tail>,
}

/// Rows of one source that were read and not handed out.
#[derive(Debug)]
struct Tail {
    piece: Option<Piece>,
    /// Whether the source has more.
    more: bool,
}

impl Tail {
    fn end(&self) -> Option<i64> {
        self.piece.as_ref().and_then(|piece| piece.ts.last().copied())
    }
}

impl Readers {
    /// Opens the sources. `time` is the table's time index with its unit.
    pub fn new(ctx: &FileContext, sources: Vec<Source>, projection: Projection, time: (ColumnId, TimeUnit)) -> Self {
        let readers = sources.into_iter().map(|source| match source {
            Source::File { file, runs, .. } => Reader::File(Box::new(Cursor::new(ctx, file, runs, &projection, time))),
            Source::Memory { part, time, .. } => Reader::Memory(part, time),
        });
        Self { sources: readers.collect(), projection, long: None }
    }

    /// Rows of these series, which follow those read before, in series key order. Errors: as [`Cursor::take`].
    pub async fn group(&mut self, ids: &[u32]) -> Result<Vec<Piece>> {
        let mut pieces = Vec::with_capacity(self.sources.len());
        for reader in &mut self.sources {
            let piece = match reader {
                Reader::File(cursor) => cursor.take(ids).await?,
                Reader::Memory(part, time) => part.piece(ids, *time, &self.projection)?,
            };
            if piece.rows() > 0 {
                pieces.push(piece);
            }
        }
        Ok(pieces)
    }

    /// Begins a long series, which follows those read before; at most `rows_max` rows of a source are read at once.
    /// Precondition: timestamps are projected.
    pub fn begin_long(&mut self, id: u32, rows_max: u32) {
        debug_assert!(self.projection.ts, "steps are cut by time");
        let tails = self.sources.iter().map(|_| Tail { piece: None, more: true }).collect();
        self.long = Some(Long { id, rows_max: rows_max.max(1), tails });
    }

    /// The next rows of the long series that compete with no later ones; `None` at its end. Errors: as `group`.
    pub async fn step_long(&mut self) -> Result<Option<Vec<Piece>>> {
        let Some(long) = &mut self.long else { return Ok(None) };
        let (id, rows_max) = (long.id, long.rows_max);
        loop {
            for (reader, tail) in self.sources.iter_mut().zip(&mut long.tails) {
                while tail.more && tail.piece.is_none() {
                    read_on(reader, tail, &self.projection, id, rows_max).await?;
                }
            }
            let limit = long.tails.iter().filter(|tail| tail.more).filter_map(Tail::end).min();
            let Some(limit) = limit else {
                let rest = long.tails.iter_mut().filter_map(|tail| tail.piece.take()).collect::<Vec<_>>();
                self.long = None;
                return Ok((!rest.is_empty()).then_some(rest));
            };
            let ready = long.tails.iter_mut().filter_map(|tail| cut(tail, limit)).collect::<Vec<_>>();
            if !ready.is_empty() {
                return Ok(Some(ready));
            }
            // All that a source has read carries one timestamp: read on until the next one shows.
            for (reader, tail) in self.sources.iter_mut().zip(&mut long.tails) {
                if tail.more && tail.end() == Some(limit) {
                    read_on(reader, tail, &self.projection, id, rows_max).await?;
                }
            }
        }
    }

    /// Whether every file was read to its end. If not, its series are in another order than the table's.
    pub fn is_done(&self) -> bool {
        self.sources.iter().all(|reader| match reader {
            Reader::File(cursor) => cursor.is_done(),
            Reader::Memory(..) => true,
        })
    }
}

/// Appends the next rows of a source to its tail.
async fn read_on(reader: &mut Reader, tail: &mut Tail, projection: &Projection, id: u32, rows_max: u32) -> Result<()> {
    let (piece, more) = match reader {
        Reader::File(cursor) => cursor.take_some(id, rows_max).await?,
        // In memory already.
        Reader::Memory(part, time) => (part.piece(&[id], *time, projection)?, false),
    };
    tail.more = more;
    if piece.rows() > 0 {
        tail.piece = Some(match tail.piece.take() {
            None => piece,
            Some(before) => before.join(&piece)?,
        });
    }
    Ok(())
}

/// Takes the rows before a time off a tail.
fn cut(tail: &mut Tail, limit: i64) -> Option<Piece> {
    let piece = tail.piece.take()?;
    let rows = piece.rows();
    let at = piece.ts.partition_point(|&ts| ts < limit);
    if at < rows {
        tail.piece = Some(piece.slice(at, rows - at));
    }
    (at > 0).then(|| piece.slice(0, at))
}
