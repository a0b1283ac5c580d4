//! From merged rows to the columns that were asked for, in their order.

use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::types::{
    ArrowTimestampType, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow_array::{ArrayRef, PrimitiveArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow_buffer::ScalarBuffer;
use arrow_schema::{DataType, Field, Schema as ArrowSchema, SchemaRef};
use arrow_select::take::take;
use varve_model::id::ColumnId;
use varve_model::schema::{ColumnRole, StoredType};
use varve_model::time::TimeUnit;
use varve_model::{Error, Reason, Result};

use crate::index::SeriesIndex;
use crate::sst::Rows;
use crate::sst::types::{field_type, time_type};
use crate::version::View;

/// The columns of a scan.
pub(super) struct Output {
    pub(super) schema: SchemaRef,
    /// Fields to read, each once.
    pub(super) fields: Vec<(ColumnId, StoredType)>,
    /// Whether timestamps are asked for.
    pub(super) ts: bool,
    columns: Vec<From>,
    index: Arc<SeriesIndex>,
    unit: TimeUnit,
}

/// Where a column comes from.
enum From {
    Tag(String),
    Time,
    /// Place among the fields read.
    Field(usize),
}

impl Output {
    /// Errors: `InvalidRequest` when a column is not in the schema.
    pub(super) fn new(view: &View, columns: &[ColumnId]) -> Result<Self> {
        let table = &view.table.schema;
        let (mut fields, mut from, mut arrow) = (Vec::new(), Vec::new(), Vec::new());
        for &id in columns {
            let column = table.column_by_id(id).ok_or_else(|| {
                Error::invalid(format!("column id {id} is not in schema version {}", table.version))
                    .with_reason(Reason::Column)
            })?;
            let (source, data_type) = match column.role {
                ColumnRole::Tag => (From::Tag(column.name.clone()), DataType::Utf8View),
                ColumnRole::TimeIndex => (From::Time, time_type(table.time_unit())),
                ColumnRole::Field => {
                    let field = (id, column.logical.stored());
                    let at = fields.iter().position(|other| *other == field).unwrap_or_else(|| {
                        fields.push(field);
                        fields.len() - 1
                    });
                    (From::Field(at), field_type(field.1))
                }
            };
            arrow.push(Field::new(&column.name, data_type, column.role != ColumnRole::TimeIndex));
            from.push(source);
        }
        Ok(Self {
            schema: Arc::new(ArrowSchema::new(arrow)),
            fields,
            ts: from.iter().any(|from| matches!(from, From::Time)),
            columns: from,
            index: view.index.clone(),
            unit: table.time_unit(),
        })
    }

    /// About the memory that so many rows take: read once and merged once, 8 bytes a value.
    /// Text is charged with the chunk it lies in.
    pub(super) fn bytes(&self, rows: u64) -> u64 {
        rows * 16 * (self.columns.len() as u64 + 2)
    }

    /// One batch of all rows.
    pub(super) fn batch(&self, rows: &Rows) -> Result<RecordBatch> {
        let count = rows.rows();
        let has_tags = self.columns.iter().any(|from| matches!(from, From::Tag(_)));
        let (ids, places) = if has_tags { spread(rows, count) } else { Default::default() };
        let mut columns = Vec::with_capacity(self.columns.len());
        for from in &self.columns {
            columns.push(match from {
                From::Tag(name) => {
                    let mut values = StringViewBuilder::with_capacity(ids.len());
                    self.index.values_of(name, &ids, |value| values.append_option(value));
                    take(&values.finish(), &UInt32Array::new(places.clone(), None), None)
                        .map_err(|error| Error::internal("tags of rows").with_source(error))?
                }
                From::Time => times(rows.ts.clone(), self.unit),
                From::Field(at) => rows.columns[*at].clone(),
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|error| Error::internal("rows do not fit the scan's schema").with_source(error))
    }
}

/// Distinct series, and per row the place of its series.
fn spread(rows: &Rows, count: usize) -> (Vec<u32>, ScalarBuffer<u32>) {
    let mut places = Vec::with_capacity(count);
    for (place, run) in rows.runs.iter().enumerate() {
        places.resize(places.len() + run.1 as usize, place as u32);
    }
    (rows.runs.iter().map(|run| run.0).collect(), places.into())
}

fn times(ts: ScalarBuffer<i64>, unit: TimeUnit) -> ArrayRef {
    fn array<T: ArrowTimestampType>(values: ScalarBuffer<i64>) -> ArrayRef {
        Arc::new(PrimitiveArray::<T>::new(values, None))
    }
    match unit {
        TimeUnit::Second => array::<TimestampSecondType>(ts),
        TimeUnit::Millisecond => array::<TimestampMillisecondType>(ts),
        TimeUnit::Microsecond => array::<TimestampMicrosecondType>(ts),
        TimeUnit::Nanosecond => array::<TimestampNanosecondType>(ts),
    }
}
