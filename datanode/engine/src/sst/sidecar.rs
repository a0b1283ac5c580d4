//! The sidecar: which series a file holds and where, and a checksum per column chunk.
//!
//! Parquet inside, so that it can be looked at with the same tools. Parquet's
//! own page checksums cannot be written by parquet 59, so the sidecar has them.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt32Type, UInt64Type};
use arrow_array::{ArrayRef, BinaryViewArray, Int64Array, RecordBatch, UInt32Array, UInt64Array};
use arrow_schema::{DataType, Field, Schema as ArrowSchema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::Encoding;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::schema::types::ColumnPath;
use varve_model::time::TimeRange;
use varve_model::{Error, Result};

use super::encoding;
use super::schema::{FORMAT, key};
use super::sparse::guarded;

/// Where the rows of one series of one bucket are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The series, as numbered by the region that wrote the file.
    pub series: u32,
    /// Place of the first row in the file.
    pub first_row: u64,
    /// Number of rows.
    pub rows: u32,
    /// First timestamp of the bucket.
    pub bucket: i64,
    /// Smallest and largest timestamp.
    pub time: TimeRange,
}

/// CRC-32C of a range of the data file; ranges follow each other and cover the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// The range ends before this byte; it begins where the previous one ends.
    pub end: u64,
    /// Its checksum.
    pub crc32c: u32,
}

/// A sidecar, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidecar {
    /// In file order: by bucket, then series key.
    pub runs: Vec<Run>,
    /// Column chunks in file order, then everything behind them.
    pub checks: Vec<Check>,
}

fn schema() -> SchemaRef {
    Arc::new(ArrowSchema::new(vec![
        Field::new("sid", DataType::UInt32, false),
        Field::new("key", DataType::BinaryView, false),
        Field::new("bucket", DataType::Int64, false),
        Field::new("first_row", DataType::UInt64, false),
        Field::new("rows", DataType::UInt32, false),
        Field::new("min_ts", DataType::Int64, false),
        Field::new("max_ts", DataType::Int64, false),
    ]))
}

/// The bytes of a sidecar. `keys` are the registry keys of the runs' series.
pub fn encode(sidecar: &Sidecar, keys: &[Vec<u8>], data: &[u8], data_crc: u32) -> Result<Bytes, ParquetError> {
    let runs = &sidecar.runs;
    let column = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
    let batch = RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(UInt32Array::from_iter_values(runs.iter().map(|run| run.series))),
            Arc::new(BinaryViewArray::from_iter_values(keys)),
            column(runs.iter().map(|run| run.bucket).collect()),
            Arc::new(UInt64Array::from_iter_values(runs.iter().map(|run| run.first_row))),
            Arc::new(UInt32Array::from_iter_values(runs.iter().map(|run| run.rows))),
            column(runs.iter().map(|run| run.time.start).collect()),
            column(runs.iter().map(|run| run.time.end).collect()),
        ],
    )?;
    // Neighbouring keys share their beginning.
    let key = ColumnPath::from("key");
    let mut properties = encoding::base()
        .set_column_dictionary_enabled(key.clone(), false)
        .set_column_encoding(key, Encoding::DELTA_BYTE_ARRAY);
    for name in ["sid", "first_row", "rows", "min_ts", "max_ts", "bucket"] {
        properties = encoding::delta(properties, ColumnPath::from(name));
    }
    let options = ArrowWriterOptions::new().with_properties(properties.build()).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), schema(), options)?;
    writer.write(&batch)?;
    let checks = sidecar.checks.iter().map(|check| (check.end, check.crc32c)).collect::<Vec<_>>();
    let checks = serde_json::to_string(&checks).expect("numbers are JSON");
    for (key, value) in [
        (key::FORMAT, FORMAT.to_owned()),
        (key::KIND, "sidecar".to_owned()),
        (key::DATA, format!("{}/{data_crc}", data.len())),
        (key::CHECKS, checks),
    ] {
        writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
    }
    writer.finish()?;
    Ok(std::mem::take(writer.inner_mut()).into())
}

/// Decodes a sidecar whose whole-object checksum was verified. Errors: `Corrupt`.
pub fn decode(bytes: Bytes) -> Result<Sidecar> {
    let bad = |what: &str| Error::corrupt(format!("sidecar: {what}"));
    let builder = guarded(|| ParquetRecordBatchReaderBuilder::try_new(bytes));
    let builder = builder.map_err(|error| bad("not Parquet").with_source(error))?;
    let pairs = builder.metadata().file_metadata().key_value_metadata().cloned().unwrap_or_default();
    let value = |key: &str| pairs.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.as_deref());
    if value(key::FORMAT) != Some(FORMAT) || value(key::KIND) != Some("sidecar") {
        return Err(bad("unknown format"));
    }
    let checks = value(key::CHECKS).ok_or_else(|| bad("no checksums"))?;
    let checks: Vec<(u64, u32)> = serde_json::from_str(checks).map_err(|_| bad("checksums are not JSON"))?;
    let checks = checks.into_iter().map(|(end, crc32c)| Check { end, crc32c }).collect::<Vec<_>>();
    if !checks.is_sorted_by_key(|check| check.end) {
        return Err(bad("checksums are out of order"));
    }
    let rows = builder.metadata().file_metadata().num_rows().max(0) as usize;
    let reader = guarded(|| builder.with_batch_size(rows.clamp(1, 1 << 16)).build());
    let reader = reader.map_err(|error| bad("damaged").with_source(error))?;
    Ok(Sidecar { runs: decode_runs(reader)?, checks })
}

fn decode_runs(mut reader: ParquetRecordBatchReader) -> Result<Vec<Run>> {
    let bad = |what: &str| Error::corrupt(format!("sidecar: {what}"));
    let mut runs = Vec::new();
    let mut next_row = 0u64;
    while let Some(batch) =
        guarded(|| Ok(reader.next().transpose()?)).map_err(|error| bad("damaged").with_source(error))?
    {
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| bad("a column is missing"));
        let wrong = || bad("a column has another type");
        let u32s = |name| column(name)?.as_primitive_opt::<UInt32Type>().ok_or_else(wrong);
        let i64s = |name| column(name)?.as_primitive_opt::<Int64Type>().ok_or_else(wrong);
        let (series, rows, bucket) = (u32s("sid")?, u32s("rows")?, i64s("bucket")?);
        let (start, end) = (i64s("min_ts")?, i64s("max_ts")?);
        let first = column("first_row")?.as_primitive_opt::<UInt64Type>().ok_or_else(wrong)?;
        for at in 0..batch.num_rows() {
            let run = Run {
                series: series.value(at),
                first_row: first.value(at),
                rows: rows.value(at),
                bucket: bucket.value(at),
                time: TimeRange { start: start.value(at), end: end.value(at) },
            };
            if run.first_row != next_row || run.rows == 0 || run.time.is_empty() {
                return Err(bad("series do not follow each other"));
            }
            next_row += u64::from(run.rows);
            runs.push(run);
        }
    }
    Ok(runs)
}
