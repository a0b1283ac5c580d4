//! From stored types to logical ones.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, SchemaRef};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::common::{DataFusionError, Result};

/// A batch of this schema from the columns that the engine returned, which may be more at the end.
///
/// A value that does not fit the logical type becomes NULL: it was stored under
/// another declaration, and a reader must not fail for it.
pub(super) fn to_logical(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if batch.num_columns() < schema.fields().len() {
        return Err(DataFusionError::Internal(format!(
            "a scan returned {} columns instead of {}",
            batch.num_columns(),
            schema.fields().len()
        )));
    }
    let columns = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| cast_column(column, field.data_type()))
        .collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

fn cast_column(column: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let from = column.data_type();
    if from == to {
        return Ok(Arc::clone(column));
    }
    let options = CastOptions { safe: true, ..CastOptions::default() };
    // Days are stored as I64; arrow casts only 32-bit integers to dates.
    if matches!((from, to), (DataType::Int64, DataType::Date32)) {
        let days = cast_with_options(column, &DataType::Int32, &options)?;
        return Ok(cast_with_options(&days, to, &options)?);
    }
    Ok(cast_with_options(column, to, &options)?)
}
