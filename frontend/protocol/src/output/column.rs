//! Columns of an answer as clients know them, and their values in few shapes.
//!
//! Arrow has some thirty ways to lay out what a wire shows as an integer or a
//! text. Encoders see eight: every array is brought into one of them by a
//! vectorised cast, once per batch.

use arrow::compute::cast;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int64Type, UInt64Type};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Float32Array, Float64Array, Int64Array, RecordBatch, StringArray,
    UInt64Array,
};
use arrow_schema::{ArrowError, DataType, Field, Schema, TimeUnit as ArrowUnit};
use varve_model::schema::LogicalType;
use varve_model::time::TimeUnit;
use varve_model::{Error, Result};

use super::LOGICAL_TYPE_KEY;

#[cfg(test)]
mod tests;

/// The type of a column of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// Only NULLs.
    Null,
    /// A type that a table's column can have.
    Logical(LogicalType),
    /// An exact number.
    Decimal {
        /// Digits.
        precision: u8,
        /// Digits behind the point.
        scale: i8,
    },
    /// Anything else, shown as text.
    Other,
}

/// One column of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: ColumnType,
    /// Whether it is a timestamp with a time zone.
    pub zoned: bool,
}

impl Column {
    /// The columns of a schema.
    pub fn all(schema: &Schema) -> Vec<Self> {
        schema.fields().iter().map(|field| Self::of(field)).collect()
    }

    /// The column of a field: its metadata decides, else its arrow type.
    pub fn of(field: &Field) -> Self {
        let declared = field.metadata().get(LOGICAL_TYPE_KEY).and_then(|text| declared(text));
        let kind = declared.map_or_else(|| physical(field.data_type()), ColumnType::Logical);
        let zoned = matches!(field.data_type(), DataType::Timestamp(_, Some(_)));
        Self { name: field.name().clone(), kind, zoned }
    }
}

/// The logical type a metadata text names.
fn declared(text: &str) -> Option<LogicalType> {
    let text = text.to_ascii_lowercase().replace('_', "");
    Some(match text.as_str() {
        "boolean" => LogicalType::Boolean,
        "int8" => LogicalType::Int8,
        "int16" => LogicalType::Int16,
        "int32" => LogicalType::Int32,
        "int64" => LogicalType::Int64,
        "uint8" => LogicalType::UInt8,
        "uint16" => LogicalType::UInt16,
        "uint32" => LogicalType::UInt32,
        "uint64" => LogicalType::UInt64,
        "float32" => LogicalType::Float32,
        "float64" => LogicalType::Float64,
        "string" => LogicalType::String,
        "json" => LogicalType::Json,
        "binary" => LogicalType::Binary,
        "date" => LogicalType::Date,
        _ => return None,
    })
}

fn physical(data_type: &DataType) -> ColumnType {
    ColumnType::Logical(match data_type {
        DataType::Null => return ColumnType::Null,
        DataType::Boolean => LogicalType::Boolean,
        DataType::Int8 => LogicalType::Int8,
        DataType::Int16 => LogicalType::Int16,
        DataType::Int32 => LogicalType::Int32,
        DataType::Int64 => LogicalType::Int64,
        DataType::UInt8 => LogicalType::UInt8,
        DataType::UInt16 => LogicalType::UInt16,
        DataType::UInt32 => LogicalType::UInt32,
        DataType::UInt64 => LogicalType::UInt64,
        DataType::Float16 | DataType::Float32 => LogicalType::Float32,
        DataType::Float64 => LogicalType::Float64,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => LogicalType::String,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            LogicalType::Binary
        }
        DataType::Date32 => LogicalType::Date,
        DataType::Date64 => LogicalType::Timestamp(TimeUnit::Millisecond),
        DataType::Timestamp(unit, _) => LogicalType::Timestamp(model_unit(*unit)),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            return ColumnType::Decimal { precision: *precision, scale: *scale };
        }
        DataType::Dictionary(_, values) => return physical(values),
        DataType::RunEndEncoded(_, values) => return physical(values.data_type()),
        _ => return ColumnType::Other,
    })
}

fn model_unit(unit: ArrowUnit) -> TimeUnit {
    match unit {
        ArrowUnit::Second => TimeUnit::Second,
        ArrowUnit::Millisecond => TimeUnit::Millisecond,
        ArrowUnit::Microsecond => TimeUnit::Microsecond,
        ArrowUnit::Nanosecond => TimeUnit::Nanosecond,
    }
}

/// The values of one column of a batch.
#[derive(Clone, Debug)]
pub enum Cells {
    /// Only NULLs.
    Null,
    /// Booleans.
    Bool(BooleanArray),
    /// Signed integers, dates in days, timestamps in their unit.
    I64(Int64Array),
    /// Unsigned integers.
    U64(UInt64Array),
    /// Single floats: they print shorter than as doubles.
    F32(Float32Array),
    /// Floats.
    F64(Float64Array),
    /// Text, JSON, decimals, and whatever has no shape of its own.
    Text(StringArray),
    /// Bytes.
    Binary(BinaryArray),
}

impl Cells {
    /// All columns of a batch. Errors: `Internal` when an array does not fit its column.
    pub fn all(batch: &RecordBatch, columns: &[Column]) -> Result<Vec<Self>> {
        if batch.num_columns() != columns.len() {
            return Err(Error::internal(format!("a batch of {} columns under {}", batch.num_columns(), columns.len())));
        }
        let cells = batch.columns().iter().zip(columns).map(|(array, column)| Self::of(array, column.kind));
        cells
            .collect::<Result<_, _>>()
            .map_err(|error| Error::internal("an answer's column has another type").with_source(error))
    }

    fn of(array: &ArrayRef, kind: ColumnType) -> Result<Self, ArrowError> {
        let to = |data_type: DataType| {
            if *array.data_type() == data_type { Ok(array.clone()) } else { cast(array, &data_type) }
        };
        let logical = match kind {
            ColumnType::Null => return Ok(Self::Null),
            ColumnType::Decimal { .. } => return Ok(Self::Text(to(DataType::Utf8)?.as_string::<i32>().clone())),
            ColumnType::Other => return shown(array).map(Self::Text),
            ColumnType::Logical(logical) => logical,
        };
        Ok(match logical {
            LogicalType::Boolean => Self::Bool(to(DataType::Boolean)?.as_boolean().clone()),
            LogicalType::Int8 | LogicalType::Int16 | LogicalType::Int32 | LogicalType::Int64 => {
                Self::I64(to(DataType::Int64)?.as_primitive::<Int64Type>().clone())
            }
            LogicalType::Date | LogicalType::Timestamp(_) => {
                Self::I64(to(DataType::Int64)?.as_primitive::<Int64Type>().clone())
            }
            LogicalType::UInt8 | LogicalType::UInt16 | LogicalType::UInt32 | LogicalType::UInt64 => {
                Self::U64(to(DataType::UInt64)?.as_primitive::<UInt64Type>().clone())
            }
            LogicalType::Float32 => Self::F32(to(DataType::Float32)?.as_primitive::<Float32Type>().clone()),
            LogicalType::Float64 => Self::F64(to(DataType::Float64)?.as_primitive::<Float64Type>().clone()),
            LogicalType::String | LogicalType::Json => Self::Text(to(DataType::Utf8)?.as_string::<i32>().clone()),
            LogicalType::Binary => Self::Binary(to(DataType::Binary)?.as_binary::<i32>().clone()),
        })
    }

    /// Whether this row is NULL.
    #[inline]
    pub fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(array) => array.is_null(row),
            Self::I64(array) => array.is_null(row),
            Self::U64(array) => array.is_null(row),
            Self::F32(array) => array.is_null(row),
            Self::F64(array) => array.is_null(row),
            Self::Text(array) => array.is_null(row),
            Self::Binary(array) => array.is_null(row),
        }
    }
}

/// Any array as text.
fn shown(array: &ArrayRef) -> Result<StringArray, ArrowError> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(array.as_ref(), &options)?;
    (0..array.len())
        .map(|row| if array.is_null(row) { Ok(None) } else { formatter.value(row).try_to_string().map(Some) })
        .collect()
}
