//! Writing a data file and its sidecar in memory, and uploading both.

use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::ArrowTimestampType;
use arrow_array::types::{
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{ArrayRef, PrimitiveArray, RecordBatch, UInt32Array, UInt64Array};
use arrow_buffer::ScalarBuffer;
use arrow_schema::SchemaRef;
use arrow_select::take::take;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use varve_model::budget::Charge;
use varve_model::id::{RegionEpoch, RegionId, Sequence, SeriesId};
use varve_model::table::TableInfo;
use varve_model::time::{TimeRange, TimeUnit};
use varve_model::{Error, Result};

use super::encoding::{self, Layout, SAMPLE_ROWS};
use super::meta::{Bucket, FileMeta};
use super::piece::Rows;
use super::schema::{self, key};
use super::sidecar::{self, Check, Run, Sidecar};
use super::types::{file_scale, file_unit};
use crate::format::checksum::crc32c;
use crate::index::SeriesIndex;
use crate::store::FileContext;

/// Compressed bytes at which a row group is closed: all columns of one series then come in one request.
const GROUP_BYTES: usize = 2 << 20;
/// Rows below which a row group is not closed for its size.
const GROUP_ROWS_MIN: usize = 64 << 10;
/// Rows at which a row group is closed.
const GROUP_ROWS_MAX: usize = 1 << 20;
/// Rows handed to the encoder at once: a multiple of a page.
const SLICE_ROWS: usize = 60_000;

/// What a file is.
#[derive(Clone, Debug)]
pub struct FileSpec {
    /// Whose columns.
    pub table: Arc<TableInfo>,
    /// Whose rows.
    pub region: RegionId,
    /// Under which grant.
    pub epoch: RegionEpoch,
    /// The bucket of all rows; `None` for late rows of several buckets.
    pub bucket: Option<Bucket>,
    /// 0 for a flush.
    pub level: u8,
}

/// A file being written, in memory. Rows come in (bucket, series key, ts) order.
pub struct Writer {
    spec: FileSpec,
    index: Arc<SeriesIndex>,
    schema: SchemaRef,
    parquet: Option<ArrowWriter<Vec<u8>>>,
    layouts: Vec<Layout>,
    bucket: i64,
    runs: Vec<Run>,
    rows: u64,
    seq: (u64, u64),
    unique: bool,
    /// Follows what is encoded: it may pass the limit, since a full memory gets room by this very file.
    charge: Charge,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("spec", &self.spec).field("rows", &self.rows).finish_non_exhaustive()
    }
}

/// A finished file, not yet uploaded.
#[derive(Debug)]
pub struct Encoded {
    spec: FileSpec,
    data: Bytes,
    sidecar: Bytes,
    rows: u64,
    time: TimeRange,
    seq: (Sequence, Sequence),
    unique: bool,
    series: u64,
    charge: Charge,
}

fn failed(error: ParquetError) -> Error {
    Error::internal("Parquet writer failed").with_source(error)
}

impl Writer {
    /// An empty file; `charge` is set to its bytes in memory until they are uploaded.
    pub fn new(spec: FileSpec, index: Arc<SeriesIndex>, charge: Charge) -> Self {
        let schema = schema::file_schema(&spec.table.schema);
        let bucket = spec.bucket.map_or(0, |bucket| bucket.start);
        Self {
            spec,
            index,
            schema,
            parquet: None,
            layouts: Vec::new(),
            bucket,
            runs: Vec::new(),
            rows: 0,
            seq: (u64::MAX, 0),
            unique: true,
            charge,
        }
    }

    /// Rows that follow are of the bucket that starts here; a row group never spans two.
    pub fn start_bucket(&mut self, start: i64) -> Result<()> {
        self.bucket = start;
        self.parquet.as_mut().map_or(Ok(()), ArrowWriter::flush).map_err(failed)
    }

    /// Appends rows that have timestamps, sequences and all fields of the schema.
    /// A series that was the last one before continues.
    pub fn write(&mut self, rows: &Rows) -> Result<()> {
        if rows.ts.is_empty() {
            return Ok(());
        }
        self.note(rows);
        let batch = self.batch(rows)?;
        let parquet = match &mut self.parquet {
            Some(parquet) => parquet,
            none => {
                let sample = batch.slice(0, batch.num_rows().min(SAMPLE_ROWS));
                let (properties, layouts) =
                    encoding::choose(&self.spec.table.schema, &self.schema, &sample).map_err(failed)?;
                self.layouts = layouts;
                let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
                let writer = ArrowWriter::try_new_with_options(Vec::new(), self.schema.clone(), options);
                none.insert(writer.map_err(failed)?)
            }
        };
        let mut at = 0;
        while at < batch.num_rows() {
            let len = SLICE_ROWS.min(batch.num_rows() - at);
            parquet.write(&batch.slice(at, len)).map_err(failed)?;
            at += len;
            let rows = parquet.in_progress_rows();
            if rows >= GROUP_ROWS_MAX || (rows >= GROUP_ROWS_MIN && parquet.in_progress_size() >= GROUP_BYTES) {
                parquet.flush().map_err(failed)?;
            }
        }
        let encoded = parquet.inner().capacity() + parquet.memory_size();
        self.charge.set((encoded + self.runs.capacity() * size_of::<Run>()) as u64);
        Ok(())
    }

    /// Extends the series table.
    fn note(&mut self, rows: &Rows) {
        let mut at = 0;
        for &(series, len) in &rows.runs {
            let run = &rows.ts[at..at + len as usize];
            let time = TimeRange { start: run[0], end: run[run.len() - 1] };
            self.unique &= run.windows(2).all(|pair| pair[0] < pair[1]);
            match self.runs.last_mut() {
                Some(last) if last.series == series && last.bucket == self.bucket => {
                    self.unique &= last.time.end < time.start;
                    last.rows += len;
                    last.time = last.time.union(time);
                }
                _ => self.runs.push(Run {
                    series,
                    first_row: self.rows + at as u64,
                    rows: len,
                    bucket: self.bucket,
                    time,
                }),
            }
            at += len as usize;
        }
        for &seq in &rows.seq {
            self.seq = (self.seq.0.min(seq), self.seq.1.max(seq));
        }
        self.rows += at as u64;
    }

    fn batch(&self, rows: &Rows) -> Result<RecordBatch> {
        let table = &self.spec.table.schema;
        let mut sids = Vec::with_capacity(rows.ts.len());
        let mut places = Vec::with_capacity(rows.ts.len());
        for (place, &(series, len)) in rows.runs.iter().enumerate() {
            sids.resize(sids.len() + len as usize, series);
            places.resize(places.len() + len as usize, place as u32);
        }
        let places = UInt32Array::from(places);
        let ids = rows.runs.iter().map(|run| run.0).collect::<Vec<_>>();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        columns.push(Arc::new(UInt32Array::from(sids)));
        columns.push(times(&rows.ts, table.time_unit())?);
        columns.extend(rows.columns.iter().cloned());
        columns.push(Arc::new(UInt64Array::new(rows.seq.clone(), None)));
        for tag in table.tags() {
            let mut values = StringViewBuilder::with_capacity(ids.len());
            self.index.values_of(&tag.name, &ids, |value| values.append_option(value));
            let spread = take(&values.finish(), &places, None);
            columns.push(spread.map_err(|error| Error::internal("tags of rows").with_source(error))?);
        }
        RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|error| Error::internal("rows do not fit the file's schema").with_source(error))
    }

    /// Ends the file; `None` when no row came.
    pub fn finish(mut self) -> Result<Option<Encoded>> {
        let Some(mut parquet) = self.parquet.take() else { return Ok(None) };
        let seq = (Sequence(self.seq.0), Sequence(self.seq.1));
        for (key, value) in self.footer(seq) {
            parquet.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        let metadata = parquet.finish().map_err(failed)?;
        let data = Bytes::from(std::mem::take(parquet.inner_mut()));
        let mut ends = Vec::new();
        for chunk in metadata.row_groups().iter().flat_map(|group| group.columns()) {
            let (start, len) = chunk.byte_range();
            ends.push(start + len);
        }
        debug_assert!(ends.is_sorted(), "column chunks lie one behind the other");
        ends.push(data.len() as u64);
        let mut start = 0;
        let mut checks = Vec::with_capacity(ends.len());
        for end in ends {
            checks.push(Check { end, crc32c: crc32c(&data[start..end as usize]) });
            start = end as usize;
        }
        let keys = self.runs.iter().map(|run| self.index.key(SeriesId(run.series))).collect::<Vec<_>>();
        let mut series = self.runs.iter().map(|run| run.series).collect::<Vec<_>>();
        series.sort_unstable();
        series.dedup();
        let time = self.runs.iter().fold(TimeRange::EMPTY, |time, run| time.union(run.time));
        let sidecar = Sidecar { runs: self.runs, checks };
        let sidecar = sidecar::encode(&sidecar, &keys, &data, crc32c(&data)).map_err(failed)?;
        let (rows, unique, series, mut charge) = (self.rows, self.unique, series.len() as u64, self.charge);
        charge.set((data.len() + sidecar.len()) as u64);
        Ok(Some(Encoded { spec: self.spec, data, sidecar, rows, time, seq, unique, series, charge }))
    }

    fn footer(&self, seq: (Sequence, Sequence)) -> [(&'static str, String); 11] {
        let table = &self.spec.table;
        let bucket = self.spec.bucket.map(|bucket| format!("{}/{}", bucket.start, bucket.width));
        let unit = serde_json::to_value(table.schema.time_unit()).ok();
        [
            (key::FORMAT, schema::FORMAT.to_owned()),
            (key::KIND, "data".to_owned()),
            (key::TABLE, table.id.to_string()),
            (key::REGION, self.spec.region.0.to_string()),
            (key::EPOCH, self.spec.epoch.0.to_string()),
            (key::SCHEMA_VERSION, table.schema.version.to_string()),
            (key::BUCKET, bucket.unwrap_or_default()),
            (key::SEQ, schema::seq_text(seq)),
            (key::ORDER, table.schema.primary_key.len().to_string()),
            (key::UNIT, unit.as_ref().and_then(|unit| unit.as_str()).unwrap_or_default().to_owned()),
            (key::FLOATS, serde_json::to_string(&self.layouts).expect("names and words are JSON")),
        ]
    }
}

impl Encoded {
    /// Bytes of both objects.
    pub fn bytes(&self) -> usize {
        self.charge.bytes() as usize
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Puts both objects into the bucket under a fresh name. Errors: `Unavailable`.
    pub async fn upload(self, ctx: &FileContext) -> Result<FileMeta> {
        let name = ctx.fresh_name();
        let (sidecar_bytes, sidecar_crc32c) = ctx.upload(&ctx.paths.sidecar(name), self.sidecar).await?;
        let (bytes, crc32c) = ctx.upload(&ctx.paths.data(name), self.data).await?;
        Ok(FileMeta {
            name,
            origin: ctx.region,
            series_offset: 0,
            bytes,
            crc32c,
            sidecar_bytes,
            sidecar_crc32c,
            rows: self.rows,
            time: self.time,
            bucket: self.spec.bucket,
            level: self.spec.level,
            rollup: 0,
            seq: self.seq,
            unique: self.unique,
            schema_version: self.spec.table.schema.version,
            order: self.spec.table.schema.primary_key.len() as u32,
            series: self.series,
            key_range: None,
        })
    }
}

/// Timestamps as the file has them.
fn times(ts: &ScalarBuffer<i64>, unit: TimeUnit) -> Result<ArrayRef> {
    let scale = file_scale(unit);
    let scaled = if scale == 1 {
        ts.clone()
    } else {
        let scaled = ts.iter().map(|ts| ts.checked_mul(scale)).collect::<Option<Vec<_>>>();
        scaled.ok_or_else(|| Error::internal("a timestamp in seconds does not fit milliseconds"))?.into()
    };
    fn array<T: ArrowTimestampType>(values: ScalarBuffer<i64>) -> ArrayRef {
        Arc::new(PrimitiveArray::<T>::new(values, None))
    }
    Ok(match file_unit(unit) {
        TimeUnit::Second => array::<TimestampSecondType>(scaled),
        TimeUnit::Millisecond => array::<TimestampMillisecondType>(scaled),
        TimeUnit::Microsecond => array::<TimestampMicrosecondType>(scaled),
        TimeUnit::Nanosecond => array::<TimestampNanosecondType>(scaled),
    })
}

/// Timestamps of a file in the table's unit.
pub(super) fn table_times(array: &ArrayRef, unit: TimeUnit) -> Option<ScalarBuffer<i64>> {
    let values = match file_unit(unit) {
        TimeUnit::Second => array.as_primitive_opt::<TimestampSecondType>()?.values().clone(),
        TimeUnit::Millisecond => array.as_primitive_opt::<TimestampMillisecondType>()?.values().clone(),
        TimeUnit::Microsecond => array.as_primitive_opt::<TimestampMicrosecondType>()?.values().clone(),
        TimeUnit::Nanosecond => array.as_primitive_opt::<TimestampNanosecondType>()?.values().clone(),
    };
    let scale = file_scale(unit);
    Some(if scale == 1 { values } else { values.iter().map(|ts| ts / scale).collect() })
}
