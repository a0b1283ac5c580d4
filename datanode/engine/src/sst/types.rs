//! Arrow types of stored columns, and values of a batch as Arrow arrays.

use std::sync::Arc;

use arrow_array::builder::BinaryViewBuilder;
use arrow_array::{ArrayRef, BinaryViewArray, BooleanArray, Float64Array, Int64Array, UInt64Array};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow_schema::{DataType, TimeUnit as ArrowUnit};
use varve_model::batch::{Bytes, Values, Vector};
use varve_model::schema::StoredType;
use varve_model::time::{TimeRange, TimeUnit};
use varve_model::{Error, Result};

/// The Arrow type that a stored type is read as.
pub fn field_type(stored: StoredType) -> DataType {
    match stored {
        StoredType::F64 => DataType::Float64,
        StoredType::I64 => DataType::Int64,
        StoredType::U64 => DataType::UInt64,
        StoredType::Bool => DataType::Boolean,
        StoredType::String | StoredType::Json => DataType::Utf8View,
        StoredType::Binary => DataType::BinaryView,
    }
}

/// The Arrow type of a time index.
pub fn time_type(unit: TimeUnit) -> DataType {
    let unit = match unit {
        TimeUnit::Second => ArrowUnit::Second,
        TimeUnit::Millisecond => ArrowUnit::Millisecond,
        TimeUnit::Microsecond => ArrowUnit::Microsecond,
        TimeUnit::Nanosecond => ArrowUnit::Nanosecond,
    };
    DataType::Timestamp(unit, None)
}

/// File units per table unit: Parquet has no seconds, so they are stored as milliseconds.
pub fn file_scale(unit: TimeUnit) -> i64 {
    if unit == TimeUnit::Second { 1000 } else { 1 }
}

/// The unit of the timestamps in files.
pub fn file_unit(unit: TimeUnit) -> TimeUnit {
    if unit == TimeUnit::Second { TimeUnit::Millisecond } else { unit }
}

/// The timestamps that a file of this unit can hold: writers are refused others,
/// because an acknowledged row that no file can hold could never be flushed.
pub fn storable(unit: TimeUnit) -> TimeRange {
    let scale = file_scale(unit);
    if scale == 1 { TimeRange::ALL } else { TimeRange { start: i64::MIN / scale, end: i64::MAX / scale } }
}

/// A vector as an Arrow array of [`field_type`]. Errors: `Corrupt` when text is not UTF-8.
pub fn array(vector: Vector) -> Result<ArrayRef> {
    let Vector { values, validity } = vector;
    let nulls = validity.map(|validity| {
        let len = validity.len();
        NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(validity.words().to_vec()), 0, len))
    });
    Ok(match values {
        Values::F64(values) => Arc::new(Float64Array::new(values.into(), nulls)),
        Values::I64(values) => Arc::new(Int64Array::new(values.into(), nulls)),
        Values::U64(values) => Arc::new(UInt64Array::new(values.into(), nulls)),
        Values::Bool(values) => Arc::new(BooleanArray::new(BooleanBuffer::from(values), nulls)),
        Values::Binary(values) => Arc::new(views(&values, nulls.as_ref())),
        Values::String(values) | Values::Json(values) => Arc::new(
            views(&values, nulls.as_ref())
                .to_string_view()
                .map_err(|error| Error::corrupt("a text field is not UTF-8").with_source(error))?,
        ),
    })
}

fn views(values: &Bytes, nulls: Option<&NullBuffer>) -> BinaryViewArray {
    let mut builder = BinaryViewBuilder::with_capacity(values.ends.len());
    for at in 0..values.ends.len() {
        if nulls.is_none_or(|nulls| nulls.is_valid(at)) {
            builder.append_value(values.get(at));
        } else {
            builder.append_null();
        }
    }
    builder.finish()
}
