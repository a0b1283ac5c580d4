//! Reading rows of chosen series from a file, in file order, a row group at a time.
//!
//! Whole column chunks are fetched and checked against their CRC-32C before a
//! byte of them is decoded; neighbouring chunks come in one request.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow_select::concat::concat;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection};
use parquet::errors::ParquetError;
use varve_model::budget::Charge;
use varve_model::id::ColumnId;
use varve_model::time::TimeUnit;
use varve_model::{Error, Result, ResultExt};
use varve_service::telemetry::stage::{self, Stage, StageTimer};

use super::open::OpenFile;
use super::piece::{Piece, Projection, Seq};
use super::sidecar::{Check, Run};
use super::sparse::{Sparse, guarded};
use super::types::field_type;
use super::write::table_times;
use crate::format::checksum::crc32c;
use crate::store::FileContext;

/// Unwanted bytes between two wanted chunks that are fetched along: cheaper than a second request.
const GAP_BYTES: u64 = 256 << 10;
/// Rows decoded at once.
const BATCH_ROWS: usize = 16 << 10;

/// Reads runs of one file, front to back.
pub struct Cursor {
    ctx: FileContext,
    file: Arc<OpenFile>,
    projection: Projection,
    unit: TimeUnit,
    /// Columns to fetch, by place in the file, ascending.
    roots: Vec<usize>,
    places: Places,
    runs: Vec<Run>,
    /// The next run to hand out.
    next: usize,
    /// Rows of it that were handed out.
    taken: u32,
    /// The next row group to fetch.
    group: usize,
    reader: Option<(ParquetRecordBatchReader, Charge)>,
    /// Decoded rows not yet handed out.
    rest: Option<RecordBatch>,
}

/// Where the projected columns are among the fetched ones; `None` for those that the file does not have.
struct Places {
    fields: Vec<Option<usize>>,
    ts: Option<usize>,
    seq: Option<usize>,
}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cursor").field("file", &self.file.meta.name).field("next", &self.next).finish_non_exhaustive()
    }
}

fn damaged(error: ParquetError) -> Error {
    Error::corrupt("data file: it does not decode").with_source(error)
}

impl Cursor {
    /// A cursor over these runs, which are in file order. `time` and `unit` are the table's.
    pub fn new(
        ctx: &FileContext,
        file: Arc<OpenFile>,
        runs: Vec<Run>,
        projection: &Projection,
        (time, unit): (ColumnId, TimeUnit),
    ) -> Self {
        debug_assert!(runs.is_sorted_by_key(|run| run.first_row));
        let fields = projection.fields.iter().map(|field| file.root_of(field.0)).collect::<Vec<_>>();
        let ts = if projection.ts { file.root_of(time) } else { None };
        let varies = file.meta.seq.0 != file.meta.seq.1;
        let seq = if projection.seq && varies { file.seq_root() } else { None };
        let mut roots = fields.iter().copied().chain([ts, seq]).flatten().collect::<Vec<_>>();
        roots.sort_unstable();
        roots.dedup();
        let place = |root: Option<usize>| root.and_then(|root| roots.binary_search(&root).ok());
        let places = Places { fields: fields.into_iter().map(place).collect(), ts: place(ts), seq: place(seq) };
        Self {
            ctx: ctx.clone(),
            file,
            projection: projection.clone(),
            unit,
            roots,
            places,
            runs,
            next: 0,
            taken: 0,
            group: 0,
            reader: None,
            rest: None,
        }
    }

    /// Rows of these series, which follow those handed out before, in series key order.
    /// A series that has no run here has no rows. Errors: `Corrupt`, `Unavailable`, `Busy`.
    pub async fn take(&mut self, ids: &[u32]) -> Result<Piece> {
        let mut offsets = Vec::with_capacity(ids.len() + 1);
        let mut rows = 0u32;
        offsets.push(0);
        for &id in ids {
            while let Some(run) = self.runs.get(self.next).filter(|run| run.series == id) {
                rows += run.rows;
                self.next += 1;
            }
            offsets.push(rows);
        }
        self.rows(offsets).await
    }

    /// At most so many rows of this series, and whether it has more here. Series come in the order of `take`.
    pub async fn take_some(&mut self, id: u32, rows_max: u32) -> Result<(Piece, bool)> {
        let left = self.runs.get(self.next).filter(|run| run.series == id).map_or(0, |run| run.rows - self.taken);
        let rows = left.min(rows_max);
        self.taken += rows;
        if rows == left && left > 0 {
            self.next += 1;
            self.taken = 0;
        }
        Ok((self.rows(vec![0, rows]).await?, rows < left))
    }

    /// The next rows of the file's wanted ones, cut into series.
    async fn rows(&mut self, offsets: Vec<u32>) -> Result<Piece> {
        let mut slices = Vec::new();
        if !self.roots.is_empty() {
            let mut missing = offsets.last().map_or(0, |&rows| rows as usize);
            while missing > 0 {
                let batch = self.next_batch().await?;
                let len = batch.num_rows().min(missing);
                if len < batch.num_rows() {
                    self.rest = Some(batch.slice(len, batch.num_rows() - len));
                }
                slices.push(batch.slice(0, len));
                missing -= len;
            }
        }
        self.piece(offsets, &slices)
    }

    /// Whether runs are left. A reader that is through and sees some knows that the order differs.
    pub fn is_done(&self) -> bool {
        self.next == self.runs.len()
    }

    async fn next_batch(&mut self) -> Result<RecordBatch> {
        if let Some(rest) = self.rest.take() {
            return Ok(rest);
        }
        loop {
            if let Some((reader, _)) = &mut self.reader {
                let timer = StageTimer::start(Stage::Fetch);
                let batch = guarded(|| Ok(reader.next().transpose()?));
                timer.finish(0, 0);
                match batch.map_err(damaged)? {
                    Some(batch) if batch.num_rows() > 0 => return Ok(batch),
                    Some(_) => continue,
                    None => self.reader = None,
                }
            }
            self.open_group().await.context(|| format!("read file {}", self.file.meta.name))?;
        }
    }

    /// Fetches the next row group that holds wanted rows.
    async fn open_group(&mut self) -> Result<()> {
        loop {
            let group = self.group;
            let starts = &self.file.group_starts;
            if group + 1 >= starts.len() {
                return Err(Error::corrupt("data file: it has fewer rows than its sidecar says"));
            }
            self.group += 1;
            let (first, end) = (starts[group], starts[group + 1]);
            let from = self.runs.partition_point(|run| run.first_row + u64::from(run.rows) <= first);
            let inside = self.runs[from..].iter().take_while(|run| run.first_row < end);
            let ranges = inside.map(|run| {
                let stop = (run.first_row + u64::from(run.rows)).min(end);
                (run.first_row.max(first) - first) as usize..(stop - first) as usize
            });
            let selection = RowSelection::from_consecutive_ranges(ranges, (end - first) as usize);
            if !selection.selects_any() {
                continue;
            }
            let rows = selection.row_count();
            let chunks = self.roots.iter().map(|&root| self.file.chunk(group, root)).collect::<Vec<_>>();
            let (sparse, charge) = fetch(&self.ctx, &self.file, &chunks).await?;
            stage::count(Stage::Fetch, rows, sparse.parts.iter().map(|part| part.1.len()).sum());
            let mask = ProjectionMask::roots(self.file.arrow.parquet_schema(), self.roots.iter().copied());
            let reader = guarded(|| {
                ParquetRecordBatchReaderBuilder::new_with_metadata(sparse, self.file.arrow.clone())
                    .with_row_groups(vec![group])
                    .with_projection(mask)
                    .with_row_selection(selection)
                    .with_batch_size(BATCH_ROWS.min(rows))
                    .build()
            });
            let reader = reader.map_err(damaged)?;
            self.reader = Some((reader, charge));
            return Ok(());
        }
    }

    fn piece(&self, offsets: Vec<u32>, slices: &[RecordBatch]) -> Result<Piece> {
        let rows = offsets.last().map_or(0, |&end| end as usize);
        let ts = if self.projection.ts {
            let column = column(self.places.ts, slices)?;
            if rows == 0 {
                Vec::new().into()
            } else {
                let times = column.and_then(|column| table_times(&column, self.unit));
                times.ok_or_else(|| Error::corrupt("data file: no time column of the table's unit"))?
            }
        } else {
            Vec::new().into()
        };
        let meta = &self.file.meta;
        let seq = if !self.projection.seq || meta.seq.0 == meta.seq.1 || rows == 0 {
            Seq::Constant(meta.seq.1.0)
        } else {
            let column = column(self.places.seq, slices)?;
            let column = column.as_ref().and_then(|column| column.as_primitive_opt::<UInt64Type>());
            Seq::Rows(column.ok_or_else(|| Error::corrupt("data file: no sequences"))?.values().clone())
        };
        let mut columns = Vec::with_capacity(self.projection.fields.len());
        for (&(id, stored), &place) in self.projection.fields.iter().zip(&self.places.fields) {
            let wanted = field_type(stored);
            let array = match column(place, slices)? {
                Some(array) if *array.data_type() == wanted => array,
                Some(array) => {
                    return Err(Error::corrupt(format!(
                        "data file: column {id} is {} and should be {wanted}",
                        array.data_type()
                    )));
                }
                None => new_null_array(&wanted, rows),
            };
            columns.push(array);
        }
        Ok(Piece { offsets, ts, seq, columns, unique: meta.unique })
    }
}

/// One column of the slices; `None` when the file does not have it or nothing was read.
fn column(place: Option<usize>, slices: &[RecordBatch]) -> Result<Option<ArrayRef>> {
    let Some(at) = place else { return Ok(None) };
    match slices {
        [] => Ok(None),
        [one] => Ok(Some(one.column(at).clone())),
        many => {
            let arrays = many.iter().map(|slice| slice.column(at).as_ref()).collect::<Vec<_>>();
            concat(&arrays).map(Some).map_err(|error| Error::internal("join batches").with_source(error))
        }
    }
}

/// These column chunks of a row group, checked. No method: the decoder in a cursor may not be shared while waiting.
async fn fetch(ctx: &FileContext, file: &OpenFile, chunks: &[(u64, Check)]) -> Result<(Sparse, Charge)> {
    let wanted = chunks.iter().map(|(start, check)| check.end - start).sum::<u64>();
    let charge = ctx.account.charge(wanted)?;
    let mut parts: Vec<(u64, Bytes)> = Vec::with_capacity(chunks.len());
    let mut at = 0;
    while at < chunks.len() {
        let mut last = at;
        while last + 1 < chunks.len() && chunks[last + 1].0 - chunks[last].1.end <= GAP_BYTES {
            last += 1;
        }
        let start = chunks[at].0;
        let bytes = ctx.read_range(&file.path, start..chunks[last].1.end).await?;
        for (first, check) in &chunks[at..=last] {
            let part = bytes.slice((first - start) as usize..(check.end - start) as usize);
            if crc32c(&part) != check.crc32c {
                let path = &file.path;
                return Err(Error::corrupt(format!("object {path}: a column chunk differs from its checksum")));
            }
            parts.push((*first, part));
        }
        at = last + 1;
    }
    Ok((Sparse { len: file.meta.bytes, parts }, charge))
}
