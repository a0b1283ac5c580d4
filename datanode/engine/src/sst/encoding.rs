//! How each column is encoded: fixed by its kind, chosen on a sample where kinds differ inside.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema as ArrowSchema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::Result;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion};
use parquet::schema::types::ColumnPath;
use rustc_hash::FxHashSet;
use varve_model::schema::Schema;

use super::schema::{SEQ, SID};

/// Rows of a page; a multiple of the write batch, at which the limit is checked.
const PAGE_ROWS: usize = 20_000;
const WRITE_BATCH_ROWS: usize = 4_000;
/// Rows looked at to choose an encoding.
pub const SAMPLE_ROWS: usize = 64 << 10;
/// Distinct values up to which a rarely changing integer takes a dictionary.
const DISTINCT_MAX: usize = 64;
/// Bytes of the dictionary of a tag: tags of a file rarely exceed it, and a fallback costs far more.
const TAG_DICTIONARY_BYTES: usize = 8 << 20;
/// A compressed page must save this much, else it stays raw and is read without inflating.
const PAGE_RATIO: f64 = 0.95;

/// Writer properties for a file, chosen on its first rows, and the layout of each f64 column.
pub fn choose(table: &Schema, file: &SchemaRef, sample: &RecordBatch) -> Result<(WriterProperties, Vec<Layout>)> {
    let mut properties = base();
    let mut layouts = Vec::new();
    let time = table.time_index();
    for (at, field) in file.fields().iter().enumerate() {
        let path = ColumnPath::from(field.name().as_str());
        let sample = sample.column(at);
        properties = match field.data_type() {
            _ if field.name() == SID => dictionary(properties, path),
            _ if field.name() == SEQ => {
                dictionary(properties, path.clone()).set_column_statistics_enabled(path, EnabledStatistics::Chunk)
            }
            DataType::Timestamp(..) if *field.name() == time.name => {
                delta(properties, path.clone()).set_column_statistics_enabled(path, EnabledStatistics::Page)
            }
            DataType::Int64 | DataType::UInt64 if few_changes(sample) => dictionary(properties, path),
            DataType::Int64 | DataType::UInt64 => delta(properties, path),
            DataType::Float64 => {
                let layout = float_layout(field, sample)?;
                layouts.push(Layout { column: field.name().clone(), layout });
                floats(properties, path, layout)
            }
            DataType::Boolean => properties.set_column_encoding(path, Encoding::RLE),
            DataType::BinaryView => properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_LENGTH_BYTE_ARRAY),
            _ => text(properties, path, table, field),
        };
    }
    Ok((properties.set_sorting_columns(Some(sorting(table, file))).build(), layouts))
}

/// What all columns share.
pub fn base() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).expect("1 is a level of zstd")))
        .set_data_page_v2_compression_ratio_threshold(PAGE_RATIO)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(WRITE_BATCH_ROWS)
        .set_max_row_group_row_count(None)
        .set_statistics_enabled(EnabledStatistics::None)
}

fn dictionary(properties: WriterPropertiesBuilder, path: ColumnPath) -> WriterPropertiesBuilder {
    properties
        .set_column_dictionary_enabled(path.clone(), true)
        .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED)
}

/// Delta-packed integers.
pub fn delta(properties: WriterPropertiesBuilder, path: ColumnPath) -> WriterPropertiesBuilder {
    properties
        .set_column_dictionary_enabled(path.clone(), false)
        .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED)
}

fn floats(properties: WriterPropertiesBuilder, path: ColumnPath, layout: FloatLayout) -> WriterPropertiesBuilder {
    properties
        .set_column_dictionary_enabled(path.clone(), layout == FloatLayout::Dictionary)
        .set_column_encoding(path, Encoding::BYTE_STREAM_SPLIT)
}

fn text(
    properties: WriterPropertiesBuilder,
    path: ColumnPath,
    table: &Schema,
    field: &Field,
) -> WriterPropertiesBuilder {
    let properties = properties
        .set_column_dictionary_enabled(path.clone(), true)
        .set_column_encoding(path.clone(), Encoding::DELTA_LENGTH_BYTE_ARRAY);
    let is_tag = table.tags().any(|tag| tag.name == *field.name());
    let first_key = table.key_columns().next().is_some_and(|tag| tag.name == *field.name());
    let properties = if is_tag {
        properties.set_column_dictionary_page_size_limit(path.clone(), TAG_DICTIONARY_BYTES)
    } else {
        properties
    };
    // Only the leading key column is ordered in a file, so only its page statistics prune.
    if first_key { properties.set_column_statistics_enabled(path, EnabledStatistics::Page) } else { properties }
}

/// Row groups are ordered by key columns, NULL first, then time: they never span buckets.
fn sorting(table: &Schema, file: &SchemaRef) -> Vec<SortingColumn> {
    let keys = table.key_columns().map(|column| column.name.as_str());
    keys.chain([table.time_index().name.as_str()])
        .filter_map(|name| file.index_of(name).ok())
        .map(|at| SortingColumn { column_idx: at as i32, descending: false, nulls_first: true })
        .collect()
}

/// Whether an integer column has few values that rarely change.
fn few_changes(sample: &ArrayRef) -> bool {
    let values: Vec<u64> = match sample.data_type() {
        DataType::Int64 => sample.as_primitive::<Int64Type>().iter().flatten().map(|value| value as u64).collect(),
        _ => sample.as_primitive::<UInt64Type>().iter().flatten().collect(),
    };
    let changes = values.windows(2).filter(|pair| pair[0] != pair[1]).count();
    if changes * 20 >= values.len() {
        return false;
    }
    let mut distinct = FxHashSet::default();
    for value in values {
        distinct.insert(value);
        if distinct.len() > DISTINCT_MAX {
            return false;
        }
    }
    true
}

/// How the f64 column of one file is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FloatLayout {
    /// Dictionary; byte-stream split when it overflows.
    Dictionary,
    /// Byte-stream split.
    Split,
}

/// The layout of one f64 column, for the footer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Layout {
    /// Its name.
    pub column: String,
    /// Its layout.
    pub layout: FloatLayout,
}

/// Encodes the sample both ways: neither wins on all data, and guessing has failed everywhere.
fn float_layout(field: &Field, sample: &ArrayRef) -> Result<FloatLayout> {
    if sample.null_count() == sample.len() {
        return Ok(FloatLayout::Dictionary);
    }
    let dictionary = encoded_bytes(field, sample, FloatLayout::Dictionary)?;
    let split = encoded_bytes(field, sample, FloatLayout::Split)?;
    Ok(if split < dictionary { FloatLayout::Split } else { FloatLayout::Dictionary })
}

fn encoded_bytes(field: &Field, sample: &ArrayRef, layout: FloatLayout) -> Result<i64> {
    let schema = Arc::new(ArrowSchema::new(vec![field.clone()]));
    let properties = floats(base(), ColumnPath::from(field.name().as_str()), layout).build();
    let batch = RecordBatch::try_new(schema.clone(), vec![sample.clone()])?;
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), schema, options)?;
    writer.write(&batch)?;
    let metadata = writer.finish()?;
    Ok(metadata.row_groups().iter().map(|group| group.compressed_size()).sum())
}
