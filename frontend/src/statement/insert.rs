//! INSERT: values or a query to columns of the table, then the way of all rows.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch};
use datafusion::common::DFSchema;
use datafusion::execution::SessionState;
use datafusion::logical_expr::ColumnarValue;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::sqlparser::ast::{self, Expr};
use varve_model::batch::{FieldColumn, Values, Vector};
use varve_model::id::Token;
use varve_model::schema::{Column, ColumnDefault, ColumnRole};
use varve_model::value::Value;
use varve_model::{Error, Reason, Result, ResultExt};
use varve_proto::datanode::RegionWrite;
use varve_protocol::output::Output;
use varve_query::error::from_datafusion;

use super::{Conductor, Scope, count, table_of};
use crate::cluster::Table;
use crate::ingest::{Assembly, assemble, split, vector_of_array, vector_of_values};
use crate::language::sql::{Insert, InsertSource, Literal, convert, literal};

impl Conductor {
    pub(super) async fn insert(&self, scope: &Scope, insert: Insert) -> Result<Output> {
        let view = self.feed.view();
        let table = table_of(scope, &view, &insert.table)?;
        let columns = target_columns(&table, &insert.columns)?;
        let (rows, mut given) = match insert.source {
            InsertSource::Values(rows) => self.values(scope, &columns, rows)?,
            InsertSource::Query(query) => self.selected(scope, &columns, *query).await?,
        };
        if rows == 0 {
            return Ok(count("INSERT", 0));
        }
        let now = self.clock.wall_nanos();
        let mut assembly = Assembly::default();
        for column in &table.info.schema.columns {
            let at = given.iter().position(|(id, _)| *id == column.id);
            let vector = if let Some(at) = at {
                given.swap_remove(at).1
            } else {
                let value = default_value(column, now);
                vector_of_values(column.logical, std::iter::repeat_n(&value, rows))
            };
            put(&mut assembly, column, vector)?;
        }
        let mut resolved = assemble(&table, assembly);
        resolved.token = scope.key.map(|key| Token::new(key, 0));
        let batches = split(resolved)?;
        let writes = batches.into_iter().map(RegionWrite::Insert).collect();
        self.dispatch.send(writes, &scope.deadline).await?;
        Ok(count("INSERT", rows as u64))
    }

    fn values(&self, scope: &Scope, columns: &[&Column], rows: Vec<Vec<Expr>>) -> Result<(usize, Given)> {
        if let Some(row) = rows.iter().find(|row| row.len() != columns.len()) {
            return Err(Error::invalid(format!("{} values for {} columns", row.len(), columns.len()))
                .with_reason(Reason::BadValue));
        }
        let now = self.clock.wall_nanos();
        // Made only when an expression is no constant.
        let mut state = None;
        let mut given = Vec::with_capacity(columns.len());
        for (at, column) in columns.iter().enumerate() {
            let mut values = Vec::with_capacity(rows.len());
            for row in &rows {
                let value = match literal(&row[at], &scope.params) {
                    Some(Literal::Default) => default_value(column, now),
                    Some(constant) => convert(&constant, column.logical, scope.zone)
                        .context(|| format!("column '{}'", column.name))?,
                    None => {
                        let state = state.get_or_insert_with(|| self.state(scope, &self.feed.view()));
                        computed(state, scope, &row[at], column)?
                    }
                };
                values.push(value);
            }
            given.push((column.id, vector_of_values(column.logical, values.iter())));
        }
        Ok((rows.len(), given))
    }

    async fn selected(&self, scope: &Scope, columns: &[&Column], query: ast::Query) -> Result<(usize, Given)> {
        let (schema, batches) = Box::pin(self.collect(scope, query)).await?;
        if schema.fields().len() != columns.len() {
            return Err(Error::invalid(format!(
                "the query answers {} columns for {} columns of the table",
                schema.fields().len(),
                columns.len()
            ))
            .with_reason(Reason::BadValue));
        }
        let all = datafusion::arrow::compute::concat_batches(&schema, &batches)
            .map_err(|error| from_datafusion(error.into()))?;
        let given =
            columns.iter().zip(all.columns()).map(|(column, array)| Ok((column.id, vector_of_array(array, column)?)));
        Ok((all.num_rows(), given.collect::<Result<_>>()?))
    }
}

/// Vectors by column.
type Given = Vec<(varve_model::id::ColumnId, Vector)>;

/// The columns that values are given for. Errors: `Column`.
pub(super) fn target_columns<'a>(table: &'a Table, names: &[String]) -> Result<Vec<&'a Column>> {
    if names.is_empty() {
        return Ok(table.info.schema.columns.iter().collect());
    }
    let mut columns = Vec::<&Column>::with_capacity(names.len());
    for name in names {
        let column = table.column(name).ok_or_else(|| varve_model::schema::missing(name))?;
        if columns.iter().any(|known| known.id == column.id) {
            return Err(Error::invalid(format!("column '{name}' stands twice")).with_reason(Reason::Column));
        }
        columns.push(column);
    }
    Ok(columns)
}

/// What a column gets when it is left out.
fn default_value(column: &Column, now_nanos: i64) -> Value {
    match (&column.default, column.logical) {
        (Some(ColumnDefault::Value(value)), _) => value.clone(),
        (Some(ColumnDefault::CurrentTimestamp), varve_model::schema::LogicalType::Timestamp(unit)) => {
            let now = varve_model::time::TimeUnit::Nanosecond.convert(now_nanos, unit);
            now.map_or(Value::Null, Value::I64)
        }
        _ => Value::Null,
    }
}

/// A value that has to be computed: functions, casts, arithmetic. It cannot name a column.
fn computed(state: &SessionState, scope: &Scope, expr: &Expr, column: &Column) -> Result<Value> {
    let array = evaluate(state, scope, expr).context(|| format!("column '{}'", column.name))?;
    let vector = vector_of_array(&array, column)?;
    Ok(first_value(&vector))
}

fn evaluate(state: &SessionState, scope: &Scope, expr: &Expr) -> Result<ArrayRef> {
    let schema = DFSchema::empty();
    let expr = state
        .create_logical_expr_from_sql_expr(
            datafusion::sql::sqlparser::ast::ExprWithAlias { expr: expr.clone(), alias: None },
            &schema,
        )
        .map_err(from_datafusion)?;
    let expr = super::prepare::bind_expr(expr, &scope.params)?;
    // Functions of the statement's time, like now(), become constants only here.
    let context = SimplifyContext::builder()
        .with_schema(Arc::new(schema.clone()))
        .with_config_options(Arc::clone(state.config_options()))
        .with_query_execution_start_time(state.execution_props().query_execution_start_time);
    let simplifier = ExprSimplifier::new(context.build());
    let expr = simplifier.coerce(expr, &schema).and_then(|expr| simplifier.simplify(expr)).map_err(from_datafusion)?;
    let physical = state.create_physical_expr(expr, &schema).map_err(from_datafusion)?;
    let one_row = RecordBatch::try_new_with_options(
        Arc::new(arrow_schema::Schema::empty()),
        Vec::new(),
        &arrow_array::RecordBatchOptions::new().with_row_count(Some(1)),
    );
    let one_row = one_row.map_err(|error| from_datafusion(error.into()))?;
    match physical.evaluate(&one_row).map_err(from_datafusion)? {
        ColumnarValue::Array(array) if array.len() == 1 => Ok(array),
        ColumnarValue::Array(_) => Err(Error::invalid("an expression in VALUES answers one value")),
        ColumnarValue::Scalar(value) => value.to_array().map_err(from_datafusion),
    }
}

fn first_value(vector: &Vector) -> Value {
    if !vector.is_valid(0) {
        return Value::Null;
    }
    let text = |bytes: &[u8]| Value::String(String::from_utf8_lossy(bytes).into_owned());
    match &vector.values {
        Values::F64(values) => Value::F64(values[0]),
        Values::I64(values) => Value::I64(values[0]),
        Values::U64(values) => Value::U64(values[0]),
        Values::Bool(values) => Value::Bool(values[0]),
        Values::String(values) | Values::Json(values) => text(values.get(0)),
        Values::Binary(values) => Value::Binary(values.get(0).to_vec()),
    }
}

/// Puts a column in its place and checks that it has values where it must.
fn put(assembly: &mut Assembly, column: &Column, vector: Vector) -> Result<()> {
    let nulls = vector.validity.as_ref().is_some_and(|validity| validity.count_ones() < validity.len());
    if nulls && !column.nullable {
        return Err(Error::invalid(format!("column '{}' must not be null", column.name))
            .with_reason(Reason::BadValue)
            .with_hint("it has no default value"));
    }
    match (column.role, vector.values) {
        (ColumnRole::TimeIndex, Values::I64(ts)) => assembly.ts = ts,
        (ColumnRole::Tag, values) => {
            assembly.tags.push((column.name.clone(), Vector { values, validity: vector.validity }));
        }
        (_, values) => {
            let all_null = vector.validity.as_ref().is_some_and(|validity| validity.count_ones() == 0);
            // A column without any value takes no room on its way.
            if !all_null {
                let vector = Vector { values, validity: vector.validity };
                assembly.fields.push(FieldColumn { column: column.id, vector });
            }
        }
    }
    Ok(())
}
