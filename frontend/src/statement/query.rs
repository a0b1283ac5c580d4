//! SELECT and EXPLAIN: plan, distribute, merge; again under newer routes while no row was sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion::sql::parser::Statement as PlannerStatement;
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use futures::{TryStreamExt, stream};
use varve_model::Result;
use varve_model::value::Value;
use varve_protocol::output::Output;
use varve_protocol::session::Wire;
use varve_query::error::from_datafusion;
use varve_service::telemetry::stage::{Stage, StageTimer};

use super::plans::{Key, tables_of};
use super::{Conductor, Scope};
use crate::catalog::{adapt, adapt_mysql};
use crate::cluster::{View, with_routes};
use crate::config::ExchangeMode;
use crate::plan::{
    Fleet, RemoteReader, distribute, open, read_time_literals, shuffled, stream as row_stream, with_pauses,
};

/// A plan that is ready to run.
pub(super) struct Planned {
    pub(super) logical: LogicalPlan,
    pub(super) physical: Arc<dyn ExecutionPlan>,
    pub(super) state: SessionState,
    fleet: Arc<Fleet>,
}

impl Conductor {
    pub(super) async fn query(&self, scope: &Scope, query: ast::Query) -> Result<Output> {
        with_routes(&self.feed, |view| Box::pin(self.query_once(scope, query.clone(), view))).await
    }

    /// One try: plans and waits for the first batch, so that a stale route shows before a row was sent.
    async fn query_once(&self, scope: &Scope, query: ast::Query, view: Arc<View>) -> Result<Output> {
        let planned = self.plan(scope, query, view).await?;
        let reader = Arc::new(RemoteReader::new(Arc::clone(&planned.fleet)));
        let context = self.sessions.task_of(&planned.state, reader);
        let schema = planned.physical.schema();
        let (first, rows) = open(planned.physical, context, &scope.deadline).await?;
        Ok(row_stream(schema, first, rows, scope.deadline.clone()))
    }

    /// All rows of a query, for statements that need them here.
    pub(super) async fn collect(&self, scope: &Scope, query: ast::Query) -> Result<(Arc<Schema>, Vec<RecordBatch>)> {
        match Box::pin(self.query(scope, query)).await? {
            Output::Rows { schema, stream } => Ok((schema, stream.try_collect().await?)),
            other => Err(varve_model::Error::internal(format!("a query answered {other:?}"))),
        }
    }

    #[tracing::instrument(level = "debug", skip_all)]
    pub(super) async fn plan(&self, scope: &Scope, query: ast::Query, view: Arc<View>) -> Result<Planned> {
        let mut state = self.state(scope, &view);
        let logical = Box::pin(self.optimized(&mut state, scope, query, &view)).await?;
        let physical = state.query_planner().create_physical_plan(&logical, &state).await.map_err(from_datafusion)?;
        let clients = Arc::clone(&self.clients);
        let fleet = Arc::new(Fleet::new(view, clients, scope.deadline.clone(), &scope.session.time_zone));
        let physical = with_pauses(physical)?;
        let physical = match self.exchange {
            ExchangeMode::Shuffle => shuffled(physical, &fleet, &self.sessions)?,
            ExchangeMode::Frontend => physical,
        };
        let physical = distribute(physical, &fleet)?;
        Ok(Planned { logical, physical, state, fleet })
    }

    /// The optimized plan of a query: one that was made before, if it would be the same.
    async fn optimized(
        &self,
        state: &mut SessionState,
        scope: &Scope,
        query: ast::Query,
        view: &View,
    ) -> Result<LogicalPlan> {
        let key = Key::of(scope, &query);
        if let Some(plan) = key.as_ref().and_then(|key| self.plans.get(key, view)) {
            return Ok(plan);
        }
        let (logical, is_adapted) = adapted_plan(state, query, scope, view).await?;
        let logical = bind(logical, scope)?;
        let tables = if is_adapted { None } else { tables_of(&logical) };
        let timer = StageTimer::start(Stage::Plan);
        let optimized = state.optimize(&logical).map_err(from_datafusion)?;
        timer.finish(0, 0);
        if let (Some(key), Some(tables)) = (key, tables) {
            self.plans.put(key, optimized.clone(), tables);
        }
        Ok(optimized)
    }

    pub(super) async fn explain(
        &self,
        scope: &Scope,
        query: ast::Query,
        analyze: bool,
        verbose: bool,
    ) -> Result<Output> {
        if analyze {
            return with_routes(&self.feed, |view| Box::pin(self.analyze_once(scope, query.clone(), view))).await;
        }
        let planned = with_routes(&self.feed, |view| Box::pin(self.plan(scope, query.clone(), view))).await?;
        let physical = displayable(planned.physical.as_ref()).indent(verbose).to_string();
        Ok(plans(&[("logical_plan", planned.logical.display_indent().to_string()), ("physical_plan", physical)]))
    }

    async fn analyze_once(&self, scope: &Scope, query: ast::Query, view: Arc<View>) -> Result<Output> {
        let planned = self.plan(scope, query, view).await?;
        let reader = Arc::new(RemoteReader::new(Arc::clone(&planned.fleet)));
        let context = self.sessions.task_of(&planned.state, reader);
        let plan = Arc::clone(&planned.physical);
        let (first, rows) = open(Arc::clone(&plan), context, &scope.deadline).await?;
        let mut count = first.map_or(0, |batch| batch.num_rows());
        scope
            .deadline
            .bound("the query", async {
                let rest: Vec<_> = rows.map_ok(|batch| batch.num_rows()).try_collect().await?;
                count += rest.into_iter().sum::<usize>();
                Ok(())
            })
            .await?;
        let shown = DisplayableExecutionPlan::with_metrics(plan.as_ref()).indent(false).to_string();
        Ok(plans(&[("plan_with_metrics", shown), ("rows", count.to_string())]))
    }
}

/// Two columns as DataFusion's own EXPLAIN has them.
pub(super) fn plans_schema() -> Arc<Schema> {
    Arc::new(Schema::new(vec![
        Field::new("plan_type", DataType::Utf8, false),
        Field::new("plan", DataType::Utf8, false),
    ]))
}

fn plans(rows: &[(&str, String)]) -> Output {
    let schema = plans_schema();
    let kinds: ArrayRef = Arc::new(rows.iter().map(|(kind, _)| Some(*kind)).collect::<StringArray>());
    let texts: ArrayRef = Arc::new(rows.iter().map(|(_, text)| Some(text.as_str())).collect::<StringArray>());
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![kinds, texts]).expect("two columns of one length");
    Output::Rows { schema, stream: Box::pin(stream::iter([Ok(batch)])) }
}

/// SQL to a logical plan.
pub(super) async fn logical_plan(
    state: &mut SessionState,
    query: ast::Query,
    scope: &Scope,
    view: &View,
) -> Result<LogicalPlan> {
    adapted_plan(state, query, scope, view).await.map(|(plan, _)| plan)
}

/// SQL to a logical plan, and whether the catalog or the session stand in it as constants.
async fn adapted_plan(
    state: &mut SessionState,
    mut query: ast::Query,
    scope: &Scope,
    view: &View,
) -> Result<(LogicalPlan, bool)> {
    if scope.session.wire == Wire::Mysql {
        adapt_mysql(&mut query, &scope.session)?;
    }
    let before = query.clone();
    adapt(&mut query, &scope.session, view, state)?;
    let is_adapted = query != before;
    let statement = PlannerStatement::Statement(Box::new(ast::Statement::Query(Box::new(query))));
    let plan = state.statement_to_plan(statement).await.map_err(from_datafusion)?;
    Ok((plan, is_adapted))
}

/// Puts values for `$1`, `$2`, .. and reads constants that are compared with timestamps.
pub(super) fn bind(mut plan: LogicalPlan, scope: &Scope) -> Result<LogicalPlan> {
    if !scope.params.is_empty() {
        plan = with_values(plan, &scope.params)?;
    }
    read_time_literals(plan, scope.zone).map_err(from_datafusion)
}

fn with_values(plan: LogicalPlan, params: &[Value]) -> Result<LogicalPlan> {
    let values = params.iter().map(|value| ScalarAndMetadata::new(scalar(value), None)).collect();
    plan.with_param_values(ParamValues::List(values)).map_err(from_datafusion)
}

/// A parameter as DataFusion has it.
pub(super) fn scalar(value: &Value) -> ScalarValue {
    match value {
        Value::Null => ScalarValue::Null,
        Value::F64(value) => ScalarValue::Float64(Some(*value)),
        Value::I64(value) => ScalarValue::Int64(Some(*value)),
        Value::U64(value) => ScalarValue::UInt64(Some(*value)),
        Value::Bool(value) => ScalarValue::Boolean(Some(*value)),
        Value::String(text) => ScalarValue::Utf8View(Some(text.clone())),
        Value::Binary(bytes) => ScalarValue::BinaryView(Some(bytes.clone())),
    }
}

/// Types of `$1`, `$2`, .. in order.
pub(super) fn parameter_types(plan: &LogicalPlan) -> Result<Vec<Option<DataType>>> {
    let types = plan.get_parameter_types().map_err(from_datafusion)?;
    let numbered = types.into_iter().filter_map(|(name, kind)| Some((name.strip_prefix('$')?.parse().ok()?, kind)));
    let numbered = numbered.collect::<BTreeMap<usize, _>>();
    let count = numbered.keys().next_back().copied().unwrap_or(0);
    Ok((1..=count).map(|number| numbered.get(&number).cloned().flatten()).collect())
}

/// `SELECT * FROM table WHERE condition`. Errors: `Internal`.
pub(super) fn select_all(table: &ast::ObjectName, condition: ast::Expr) -> Result<ast::Query> {
    select("*", table, Some(condition))
}

/// `SELECT count(*) FROM table [WHERE condition]`. Errors: `Internal`.
pub(super) fn count_all(table: &ast::ObjectName, condition: Option<ast::Expr>) -> Result<ast::Query> {
    select("count(*)", table, condition)
}

fn select(what: &str, table: &ast::ObjectName, condition: Option<ast::Expr>) -> Result<ast::Query> {
    let text = format!("SELECT {what} FROM {table}");
    let broken = |error| varve_model::Error::internal("a quoted name parses").with_source(error);
    let parsed = Parser::new(&GenericDialect {}).try_with_sql(&text).and_then(|mut parser| parser.parse_query());
    let mut query = *parsed.map_err(broken)?;
    if let ast::SetExpr::Select(select) = query.body.as_mut() {
        select.selection = condition;
    }
    Ok(query)
}
