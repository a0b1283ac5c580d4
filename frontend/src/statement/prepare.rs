//! What a statement will need and answer, without running it.

use arrow_schema::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::ast;
use varve_model::value::Value;
use varve_model::{Error, Reason, Result};
use varve_protocol::gateway::Prepared;
use varve_protocol::output::Output;
use varve_query::column::arrow_type;
use varve_query::error::from_datafusion;

use super::delete::object_name;
use super::insert::target_columns;
use super::query::{logical_plan, parameter_types, scalar, select_all};
use super::{Conductor, Scope, full_name, table_of};
use crate::language::sql::{Insert, InsertSource, Statement};

impl Conductor {
    pub(super) async fn prepare_one(&self, scope: &Scope, statement: Statement) -> Result<Prepared> {
        let view = self.feed.view();
        let mut state = self.state(scope, &view);
        match statement {
            Statement::Query(query) => {
                let plan = logical_plan(&mut state, *query, scope, &view).await?;
                let schema = std::sync::Arc::new(plan.schema().as_arrow().clone());
                Ok(Prepared { params: parameter_types(&plan)?, schema: Some(schema) })
            }
            Statement::Insert(insert) => self.prepare_insert(scope, *insert).await,
            Statement::Delete(delete) => {
                let Some(condition) = delete.condition else { return Ok(no_rows()) };
                let from = object_name(full_name(scope, delete.table));
                let plan = logical_plan(&mut state, select_all(&from, condition)?, scope, &view).await?;
                Ok(Prepared { params: parameter_types(&plan)?, schema: None })
            }
            // These answer at once and change nothing, so their shape is found by asking.
            statement @ (Statement::Show(_) | Statement::Describe(_)) => {
                match Box::pin(self.one(scope, statement)).await? {
                    Output::Rows { schema, .. } => Ok(Prepared { params: Vec::new(), schema: Some(schema) }),
                    _ => Ok(no_rows()),
                }
            }
            Statement::Explain { query, .. } => {
                logical_plan(&mut state, *query, scope, &view).await?;
                Ok(Prepared { params: Vec::new(), schema: Some(super::query::plans_schema()) })
            }
            Statement::Kill(kill) => {
                Ok(Prepared { params: Vec::new(), schema: kill.function.map(super::kill::answer_schema) })
            }
            _ => Ok(no_rows()),
        }
    }

    async fn prepare_insert(&self, scope: &Scope, insert: Insert) -> Result<Prepared> {
        let view = self.feed.view();
        let table = table_of(scope, &view, &insert.table)?;
        let columns = target_columns(&table, &insert.columns)?;
        let params = match insert.source {
            InsertSource::Query(query) => {
                let plan = logical_plan(&mut self.state(scope, &view), *query, scope, &view).await?;
                parameter_types(&plan)?
            }
            InsertSource::Values(rows) => {
                let mut params = Vec::<Option<DataType>>::new();
                for row in &rows {
                    for (expr, column) in row.iter().zip(&columns) {
                        note_placeholders(expr, arrow_type(column.logical), &mut params);
                    }
                }
                params
            }
        };
        Ok(Prepared { params, schema: None })
    }
}

fn no_rows() -> Prepared {
    Prepared { params: Vec::new(), schema: None }
}

/// A parameter that is a whole value has the column's type; inside an expression any type may fit.
fn note_placeholders(expr: &ast::Expr, whole: DataType, params: &mut Vec<Option<DataType>>) {
    let mut note = |name: &str, kind: Option<DataType>| {
        let number = name.strip_prefix('$').and_then(|number| number.parse::<usize>().ok()).unwrap_or(0);
        if number == 0 {
            return;
        }
        if params.len() < number {
            params.resize(number, None);
        }
        params[number - 1] = params[number - 1].take().or(kind);
    };
    if let ast::Expr::Value(value) = expr
        && let ast::Value::Placeholder(name) = &value.value
    {
        return note(name, Some(whole));
    }
    let _ = ast::visit_expressions(expr, |inner| {
        if let ast::Expr::Value(value) = inner
            && let ast::Value::Placeholder(name) = &value.value
        {
            note(name, None);
        }
        std::ops::ControlFlow::<()>::Continue(())
    });
}

/// Puts values for `$1`, `$2`, .. in one expression. Errors: `BadValue` when one is missing.
pub(super) fn bind_expr(expr: Expr, params: &[Value]) -> Result<Expr> {
    let mut missing = None;
    let bound = expr.transform(|expr| match &expr {
        Expr::Placeholder(placeholder) => {
            let number = placeholder.id.strip_prefix('$').and_then(|number| number.parse::<usize>().ok());
            if let Some(value) = number.and_then(|number| params.get(number.checked_sub(1)?)) {
                Ok(Transformed::yes(Expr::Literal(scalar(value), None)))
            } else {
                missing = Some(placeholder.id.clone());
                Ok(Transformed::no(expr))
            }
        }
        _ => Ok(Transformed::no(expr)),
    });
    match missing {
        Some(id) => Err(Error::invalid(format!("no value for parameter {id}")).with_reason(Reason::BadValue)),
        None => bound.map(|bound| bound.data).map_err(from_datafusion),
    }
}
