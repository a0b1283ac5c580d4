//! Rows of a region in a map, and the evaluation of a scan row by row.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::builder::*;
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema as ArrowSchema};
use varve_model::batch::{RegionBatch, Values, Vector};
use varve_model::id::ColumnId;
use varve_model::matcher::{MatchOp, Matcher};
use varve_model::scan::ScanSpec;
use varve_model::schema::{ColumnRole, Schema, StoredType};
use varve_model::series::tags_of;
use varve_model::value::Value;
use varve_proto::datanode::RegionDelete;
use varve_query::column::ScanColumn;

type Key = (Vec<u8>, i64);

#[derive(Debug, Default)]
pub(super) struct RegionRows(BTreeMap<Key, BTreeMap<ColumnId, Value>>);

impl RegionRows {
    pub(super) fn insert(&mut self, batch: &RegionBatch) -> u64 {
        for row in 0..batch.rows() {
            let key = batch.keys.get(batch.series[row]).to_vec();
            let fields = batch.fields.iter().map(|field| (field.column, value(&field.vector, row)));
            self.0.insert((key, batch.ts[row]), fields.collect());
        }
        batch.rows() as u64
    }

    pub(super) fn delete(&mut self, delete: &RegionDelete) -> u64 {
        let before = self.0.len();
        self.0.retain(|(key, ts), _| !(delete.time.contains(*ts) && matches(key, &delete.matchers)));
        (before - self.0.len()) as u64
    }
}

fn value(vector: &Vector, row: usize) -> Value {
    if !vector.is_valid(row) {
        return Value::Null;
    }
    match &vector.values {
        Values::F64(values) => Value::F64(values[row]),
        Values::I64(values) => Value::I64(values[row]),
        Values::U64(values) => Value::U64(values[row]),
        Values::Bool(values) => Value::Bool(values[row]),
        Values::String(values) | Values::Json(values) => {
            Value::String(String::from_utf8(values.get(row).to_vec()).unwrap())
        }
        Values::Binary(values) => Value::Binary(values.get(row).to_vec()),
    }
}

fn matches(key: &[u8], matchers: &[Matcher]) -> bool {
    matchers.iter().all(|matcher| {
        let tag = tags_of(key).find(|(name, _)| *name == matcher.tag).map(|(_, value)| value);
        match (&matcher.op, tag) {
            (MatchOp::IsNull, tag) => tag.is_none(),
            (MatchOp::IsNotNull, tag) => tag.is_some(),
            (_, None) => false,
            (MatchOp::In(values), Some(tag)) => values.iter().any(|value| value == tag),
            (MatchOp::NotIn(values), Some(tag)) => values.iter().all(|value| value != tag),
            (MatchOp::Between { low, high }, Some(tag)) => {
                let above = |(bound, inside): &(String, bool)| tag > bound.as_str() || (*inside && tag == bound);
                let below = |(bound, inside): &(String, bool)| tag < bound.as_str() || (*inside && tag == bound);
                low.as_ref().is_none_or(above) && high.as_ref().is_none_or(below)
            }
            (MatchOp::Regex(_) | MatchOp::NotRegex(_), Some(_)) => panic!("the fake has no regexes"),
        }
    })
}

pub(super) fn to_batch(rows: Option<&RegionRows>, spec: &ScanSpec, schema: &Schema) -> RecordBatch {
    let empty = RegionRows::default();
    let rows = rows.unwrap_or(&empty).0.iter();
    let rows = rows.filter(|((key, ts), _)| spec.time.contains(*ts) && matches(key, &spec.matchers));
    let rows = rows.collect::<Vec<_>>();
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for id in &spec.columns {
        let column = schema.column_by_id(*id).unwrap();
        let stored = ScanColumn::from(column).stored_type();
        let cell = |((key, ts), fields): &(&Key, &BTreeMap<ColumnId, Value>)| match column.role {
            ColumnRole::Tag => tags_of(key)
                .find(|(name, _)| *name == column.name)
                .map_or(Value::Null, |(_, value)| Value::String(value.to_owned())),
            ColumnRole::TimeIndex => Value::I64(*ts),
            ColumnRole::Field => fields.get(id).cloned().unwrap_or(Value::Null),
        };
        let kind = if column.role == ColumnRole::Field { column.logical.stored() } else { StoredType::String };
        let array = array(rows.iter().map(cell), if stored == DataType::Utf8View { StoredType::String } else { kind });
        let array = if column.role == ColumnRole::TimeIndex {
            let ts = rows.iter().map(|((_, ts), _)| Some(*ts)).collect::<Int64Array>();
            datafusion::arrow::compute::cast(&ts, &stored).unwrap()
        } else {
            array
        };
        fields.push(Field::new(&column.name, stored, true));
        columns.push(array);
    }
    RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), columns).unwrap()
}

fn array(cells: impl Iterator<Item = Value>, stored: StoredType) -> ArrayRef {
    macro_rules! build {
        ($builder:expr, $variant:ident) => {{
            let mut builder = $builder;
            for cell in cells {
                match cell {
                    Value::$variant(value) => builder.append_value(value),
                    _ => builder.append_null(),
                }
            }
            Arc::new(builder.finish())
        }};
    }
    match stored {
        StoredType::F64 => build!(Float64Builder::new(), F64),
        StoredType::I64 => build!(Int64Builder::new(), I64),
        StoredType::U64 => build!(UInt64Builder::new(), U64),
        StoredType::Bool => build!(BooleanBuilder::new(), Bool),
        StoredType::String | StoredType::Json => build!(StringViewBuilder::new(), String),
        StoredType::Binary => build!(BinaryViewBuilder::new(), Binary),
    }
}
