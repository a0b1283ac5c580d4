//! The columns of a data file: `__sid`, time, fields, `__seq`, tags.
//!
//! The same for every file of one schema version, whatever its rows hold, so
//! that a folder of files reads as one table.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema as ArrowSchema, SchemaRef};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use varve_model::id::{ColumnId, Sequence};
use varve_model::schema::{Schema, StoredType};

use super::types::{field_type, file_unit, time_type};

/// The column of series ids.
pub const SID: &str = "__sid";
/// The column of sequences.
pub const SEQ: &str = "__seq";
/// Version of the file format, in the footer.
pub const FORMAT: &str = "1";
/// Keys of the footer's key-value list.
pub mod key {
    /// Version of the format; an unknown one is refused.
    pub const FORMAT: &str = "varve.format";
    /// What the file is: `data` or `sidecar`.
    pub const KIND: &str = "varve.kind";
    /// Id of the table.
    pub const TABLE: &str = "varve.table";
    /// Id of the region that wrote the file.
    pub const REGION: &str = "varve.region";
    /// The grant under which it was written.
    pub const EPOCH: &str = "varve.epoch";
    /// Version of the schema of its columns.
    pub const SCHEMA_VERSION: &str = "varve.schema_version";
    /// `start/width` of its bucket in the table's unit; empty for late rows of several buckets.
    pub const BUCKET: &str = "varve.bucket";
    /// Smallest and largest `__seq`, as `min/max`.
    pub const SEQ: &str = "varve.seq";
    /// Number of key columns: the id of the series order.
    pub const ORDER: &str = "varve.order";
    /// The table's time unit, which seconds files do not show.
    pub const UNIT: &str = "varve.time_unit";
    /// Per f64 column its layout, as JSON.
    pub const FLOATS: &str = "varve.float_layout";
    /// Size and CRC-32C of the data file, as `bytes/crc`.
    pub const DATA: &str = "varve.data";
    /// CRC-32C per range of the data file, as JSON `[[end, crc], ..]`.
    pub const CHECKS: &str = "varve.checks";
}

/// Sequences as they are in footers.
pub fn seq_text(seq: (Sequence, Sequence)) -> String {
    format!("{}/{}", seq.0, seq.1)
}

/// The Arrow schema that a file is written with.
pub fn file_schema(schema: &Schema) -> SchemaRef {
    let with_id = |name: &str, id: ColumnId, data: DataType, nullable: bool| {
        let id = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.0.to_string())]);
        Field::new(name, data, nullable).with_metadata(id)
    };
    let time = schema.time_index();
    let mut fields = vec![
        Field::new(SID, DataType::UInt32, false),
        with_id(&time.name, time.id, time_type(file_unit(schema.time_unit())), false),
    ];
    let mut values = schema.fields().collect::<Vec<_>>();
    values.sort_unstable_by_key(|column| column.id);
    fields.extend(
        values.into_iter().map(|column| with_id(&column.name, column.id, field_type(column.logical.stored()), true)),
    );
    fields.push(Field::new(SEQ, DataType::UInt64, false));
    fields.extend(schema.tags().map(|column| with_id(&column.name, column.id, DataType::Utf8View, true)));
    Arc::new(ArrowSchema::new(fields))
}

/// Fields of a schema with their types on disk, sorted by id: the order in files and of merged rows.
pub fn stored_fields(schema: &Schema) -> Vec<(ColumnId, StoredType)> {
    let mut fields = schema.fields().map(|column| (column.id, column.logical.stored())).collect::<Vec<_>>();
    fields.sort_unstable_by_key(|field| field.0);
    fields
}
