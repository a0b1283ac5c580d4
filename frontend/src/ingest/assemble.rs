//! Columns of values to resolved rows: what INSERT needs beside the protocols' way.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, UInt64Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use rustc_hash::FxHashMap;
use varve_model::batch::{Bitmap, Bytes, FieldColumn, Values, Vector};
use varve_model::schema::{Column, ColumnRole, LogicalType, StoredType};
use varve_model::series::{SeriesKeys, encode_key};
use varve_model::value::Value;
use varve_model::{Error, Reason, Result};
use varve_query::column::{arrow_type, stored_type};

use super::ResolvedRows;
use crate::cluster::Table;

/// Values of all columns of some rows.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    /// Text per row.
    pub(crate) tags: Vec<(String, Vector)>,
    /// In the table's unit.
    pub(crate) ts: Vec<i64>,
    /// In any order.
    pub(crate) fields: Vec<FieldColumn>,
}

/// Rows with series keys. Precondition: all vectors are as long as `ts`.
pub(crate) fn assemble(table: &Arc<Table>, assembly: Assembly) -> ResolvedRows {
    let Assembly { tags, ts, mut fields } = assembly;
    fields.sort_unstable_by_key(|field| field.column);
    let mut keys = SeriesKeys::default();
    let mut slots = FxHashMap::<Vec<u8>, u32>::default();
    let mut series = Vec::with_capacity(ts.len());
    let mut key = Vec::new();
    let mut pairs = Vec::<(&[u8], &[u8])>::with_capacity(tags.len());
    for row in 0..ts.len() {
        pairs.clear();
        for (name, vector) in &tags {
            if let (true, Values::String(values)) = (vector.is_valid(row), &vector.values) {
                pairs.push((name.as_bytes(), values.get(row)));
            }
        }
        key.clear();
        encode_key(&mut pairs, &mut key);
        let slot = if let Some(&slot) = slots.get(&key) {
            slot
        } else {
            let slot = keys.push(&key);
            slots.insert(key.clone(), slot);
            slot
        };
        series.push(slot);
    }
    ResolvedRows { table: Arc::clone(table), keys, series, ts, fields, token: None }
}

/// One value for all rows.
pub(super) fn constant(logical: LogicalType, value: &Value, rows: usize) -> Vector {
    let mut vector = Vector::new(logical.stored());
    (0..rows).for_each(|_| push(&mut vector, value));
    vector
}

/// Values that were converted to a column's type, as its vector.
pub(crate) fn vector_of_values<'a>(logical: LogicalType, values: impl Iterator<Item = &'a Value>) -> Vector {
    let mut vector = Vector::new(logical.stored());
    values.for_each(|value| push(&mut vector, value));
    vector
}

fn push(vector: &mut Vector, value: &Value) {
    match (&mut vector.values, value) {
        (Values::F64(values), Value::F64(value)) => values.push(*value),
        (Values::I64(values), Value::I64(value)) => values.push(*value),
        (Values::U64(values), Value::U64(value)) => values.push(*value),
        (Values::Bool(values), Value::Bool(value)) => values.push(*value),
        (Values::String(values) | Values::Json(values), Value::String(value)) => values.push(value.as_bytes()),
        (Values::Binary(values), Value::Binary(value)) => values.push(value),
        _ => return vector.extend_null(1),
    }
    vector.mark_valid();
}

/// An array of any type as a vector of a column's. Errors: `BadValue` for a value that does not fit.
pub(crate) fn vector_of_array(array: &ArrayRef, column: &Column) -> Result<Vector> {
    let misfit = |error: arrow_schema::ArrowError| {
        let text = error.to_string().trim_start_matches("Cast error: ").to_owned();
        Error::invalid(format!("column '{}': {text}", column.name)).with_reason(Reason::BadValue)
    };
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let to = |array: &ArrayRef, to: &DataType| -> Result<ArrayRef> {
        if array.data_type() == to {
            Ok(Arc::clone(array))
        } else {
            cast_with_options(array, to, &strict).map_err(misfit)
        }
    };
    // First to what users see, which checks the range, then to what is stored.
    let logical = to(array, &arrow_type(column.logical))?;
    let logical = if column.logical == LogicalType::Date { to(&logical, &DataType::Int32)? } else { logical };
    let is_time = column.role == ColumnRole::TimeIndex || matches!(column.logical, LogicalType::Timestamp(_));
    let stored = if is_time { StoredType::I64 } else { column.logical.stored() };
    let array = to(&logical, &stored_type(stored))?;
    let rows = 0..array.len();
    // A value under a null is zero, whatever arrow keeps there.
    let valid = |row: &usize| array.is_valid(*row);
    let text = |row| if array.is_valid(row) { array.as_string_view().value(row).as_bytes() } else { &[] };
    let values = match stored {
        StoredType::F64 => {
            let values = array.as_primitive::<Float64Type>();
            Values::F64(rows.map(|row| Some(row).filter(valid).map_or(0.0, |row| values.value(row))).collect())
        }
        StoredType::I64 => {
            let values = array.as_primitive::<Int64Type>();
            Values::I64(rows.map(|row| Some(row).filter(valid).map_or(0, |row| values.value(row))).collect())
        }
        StoredType::U64 => {
            let values = array.as_primitive::<UInt64Type>();
            Values::U64(rows.map(|row| Some(row).filter(valid).map_or(0, |row| values.value(row))).collect())
        }
        StoredType::Bool => {
            Values::Bool(rows.map(|row| array.is_valid(row) && array.as_boolean().value(row)).collect())
        }
        StoredType::String => Values::String(bytes(array.len(), text)),
        StoredType::Json => Values::Json(bytes(array.len(), text)),
        StoredType::Binary => Values::Binary(bytes(array.len(), |row| {
            if array.is_valid(row) { array.as_binary_view().value(row) } else { &[] }
        })),
    };
    let validity = (array.null_count() > 0).then(|| {
        let mut validity = Bitmap::default();
        (0..array.len()).for_each(|row| validity.push(array.is_valid(row)));
        validity
    });
    Ok(Vector { values, validity })
}

fn bytes<'a>(rows: usize, value: impl Fn(usize) -> &'a [u8]) -> Bytes {
    let mut bytes = Bytes::default();
    (0..rows).for_each(|row| bytes.push(value(row)));
    bytes
}
