//! A table's columns as arrow fields: the stored types that the engine returns and the logical ones users see.
//!
//! Text is `Utf8View` everywhere, tags too: DataFusion's fast grouping and its
//! coercions are on views (docs/adr/0001-tags-are-utf8view.md).

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema as ArrowSchema, SchemaRef, TimeUnit as ArrowUnit};
use serde::{Deserialize, Serialize};
use varve_model::id::ColumnId;
use varve_model::schema::{Column, ColumnRole, LogicalType, Schema, StoredType};
use varve_model::time::TimeUnit;

#[cfg(test)]
mod tests;

/// Field metadata key that says a column's logical type where arrow's does not (`json`).
///
/// The same text as `varve_protocol::output::LOGICAL_TYPE_KEY`, which this package must not import.
pub const LOGICAL_TYPE_KEY: &str = "varve.type";

/// What a scan needs to know of a column.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ScanColumn {
    /// The table's column.
    pub id: ColumnId,
    /// Case-sensitive name.
    pub name: String,
    /// What it is for.
    pub role: ColumnRole,
    /// What users see.
    pub logical: LogicalType,
    /// Whether NULL may occur.
    pub nullable: bool,
}

/// What a scan needs to know of a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ScanTable {
    /// Name, for EXPLAIN.
    pub name: String,
    /// Columns in creation order.
    pub columns: Vec<ScanColumn>,
}

impl ScanTable {
    /// From a table's schema.
    pub fn new(name: impl Into<String>, schema: &Schema) -> Self {
        Self { name: name.into(), columns: schema.columns.iter().map(ScanColumn::from).collect() }
    }

    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<&ScanColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The logical schema of these columns, in this order. Panics when one is out of range.
    pub fn schema(&self, projection: &[usize]) -> SchemaRef {
        Arc::new(ArrowSchema::new(projection.iter().map(|&at| self.columns[at].field()).collect::<Vec<_>>()))
    }
}

impl From<&Column> for ScanColumn {
    fn from(column: &Column) -> Self {
        Self {
            id: column.id,
            name: column.name.clone(),
            role: column.role,
            logical: column.logical,
            // A column that was added later has no value in older rows, whatever was declared.
            nullable: column.role != ColumnRole::TimeIndex,
        }
    }
}

impl ScanColumn {
    /// The field users see.
    pub fn field(&self) -> Field {
        let field = Field::new(&self.name, arrow_type(self.logical), self.nullable);
        match self.logical {
            LogicalType::Json => field.with_metadata(HashMap::from([(LOGICAL_TYPE_KEY.to_owned(), "json".to_owned())])),
            _ => field,
        }
    }

    /// The type in which the engine returns it.
    pub fn stored_type(&self) -> DataType {
        match (self.role, self.logical) {
            (ColumnRole::Tag, _) => DataType::Utf8View,
            (ColumnRole::TimeIndex, LogicalType::Timestamp(unit)) => DataType::Timestamp(arrow_unit(unit), None),
            (_, logical) => stored_type(logical.stored()),
        }
    }
}

/// The arrow type of a field as stored.
pub fn stored_type(stored: StoredType) -> DataType {
    match stored {
        StoredType::F64 => DataType::Float64,
        StoredType::I64 => DataType::Int64,
        StoredType::U64 => DataType::UInt64,
        StoredType::Bool => DataType::Boolean,
        StoredType::String | StoredType::Json => DataType::Utf8View,
        StoredType::Binary => DataType::BinaryView,
    }
}

/// The arrow type users see.
pub fn arrow_type(logical: LogicalType) -> DataType {
    match logical {
        LogicalType::Boolean => DataType::Boolean,
        LogicalType::Int8 => DataType::Int8,
        LogicalType::Int16 => DataType::Int16,
        LogicalType::Int32 => DataType::Int32,
        LogicalType::Int64 => DataType::Int64,
        LogicalType::UInt8 => DataType::UInt8,
        LogicalType::UInt16 => DataType::UInt16,
        LogicalType::UInt32 => DataType::UInt32,
        LogicalType::UInt64 => DataType::UInt64,
        LogicalType::Float32 => DataType::Float32,
        LogicalType::Float64 => DataType::Float64,
        LogicalType::String | LogicalType::Json => DataType::Utf8View,
        LogicalType::Binary => DataType::BinaryView,
        LogicalType::Date => DataType::Date32,
        LogicalType::Timestamp(unit) => DataType::Timestamp(arrow_unit(unit), None),
    }
}

/// Our unit as arrow's.
pub fn arrow_unit(unit: TimeUnit) -> ArrowUnit {
    match unit {
        TimeUnit::Second => ArrowUnit::Second,
        TimeUnit::Millisecond => ArrowUnit::Millisecond,
        TimeUnit::Microsecond => ArrowUnit::Microsecond,
        TimeUnit::Nanosecond => ArrowUnit::Nanosecond,
    }
}

/// Arrow's unit as ours.
pub fn model_unit(unit: ArrowUnit) -> TimeUnit {
    match unit {
        ArrowUnit::Second => TimeUnit::Second,
        ArrowUnit::Millisecond => TimeUnit::Millisecond,
        ArrowUnit::Microsecond => TimeUnit::Microsecond,
        ArrowUnit::Nanosecond => TimeUnit::Nanosecond,
    }
}
