//! DELETE: conditions on tags and time become matchers and a range, one delete per region.
//!
//! DataFusion reads the condition, so that it means the same as in a SELECT;
//! what it does not push down exactly to the leaf cannot be deleted by.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{self, Ident, ObjectName};
use varve_model::{Error, ErrorKind, Result};
use varve_proto::datanode::{RegionDelete, RegionWrite};
use varve_proto::metasrv::TableName;
use varve_protocol::output::Output;
use varve_query::error::from_datafusion;
use varve_query::predicate::{self, Predicate};

use super::query::{bind, count_all, logical_plan, select_all};
use super::{Conductor, Scope, count, full_name, table_of};
use crate::cluster::{Table, View, with_routes};
use crate::language::sql::Delete;

impl Conductor {
    pub(super) async fn delete(&self, scope: &Scope, delete: Delete) -> Result<Output> {
        let rows = with_routes(&self.feed, |view| Box::pin(self.delete_once(scope, &delete, view))).await?;
        Ok(count("DELETE", rows))
    }

    async fn delete_once(&self, scope: &Scope, delete: &Delete, view: Arc<View>) -> Result<u64> {
        let table = table_of(scope, &view, &delete.table)?;
        let predicate = match &delete.condition {
            None => Some(Predicate::default()),
            Some(condition) => self.predicate(scope, delete, condition, &table, &view).await?,
        };
        let Some(Predicate { time, matchers }) = predicate.filter(|predicate| !predicate.time.is_empty()) else {
            return Ok(0);
        };
        // An owner marks rows deleted without looking for them, so they are counted before.
        let rows = self.matching(scope, delete).await?;
        let writes = table.info.regions().map(|region| {
            Ok(RegionWrite::Delete(RegionDelete {
                region,
                epoch: table.route(region)?.epoch,
                schema_version: table.info.schema.version,
                matchers: matchers.clone(),
                time,
            }))
        });
        let writes = writes.collect::<Result<Vec<_>>>()?;
        self.dispatch.send(writes, &scope.deadline).await?;
        Ok(rows)
    }

    /// Rows that the statement will delete, as of now.
    async fn matching(&self, scope: &Scope, delete: &Delete) -> Result<u64> {
        let from = object_name(full_name(scope, delete.table.clone()));
        let query = count_all(&from, delete.condition.clone())?;
        let (_, batches) = Box::pin(self.collect(scope, query)).await?;
        let counts = batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().iter());
        Ok(counts.sum::<i64>().unsigned_abs())
    }

    /// What the condition means; `None` when it can never hold.
    async fn predicate(
        &self,
        scope: &Scope,
        delete: &Delete,
        condition: &ast::Expr,
        table: &Table,
        view: &Arc<View>,
    ) -> Result<Option<Predicate>> {
        let mut state = self.state(scope, view);
        let from = object_name(full_name(scope, delete.table.clone()));
        let logical = logical_plan(&mut state, select_all(&from, condition.clone())?, scope, view).await?;
        let logical = state.optimize(&bind(logical, scope)?).map_err(from_datafusion)?;
        match strip(&logical) {
            LogicalPlan::EmptyRelation(_) => Ok(None),
            LogicalPlan::TableScan(scan) => {
                let conditions = scan.filters.iter().map(|filter| predicate::convert(filter, &table.scan));
                let all = conditions.collect::<Option<Vec<_>>>().ok_or_else(unsupported)?;
                Ok(Some(all.into_iter().fold(Predicate::default(), Predicate::and)))
            }
            _ => Err(unsupported()),
        }
    }
}

/// A full name as SQL writes it.
pub(super) fn object_name(name: TableName) -> ObjectName {
    let quoted = |text: String| Ident::with_quote('"', text);
    ObjectName::from(vec![quoted(name.database), quoted(name.table)])
}

/// The plan below projections that only rename.
fn strip(plan: &LogicalPlan) -> &LogicalPlan {
    match plan {
        LogicalPlan::Projection(projection) => strip(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => strip(&alias.input),
        plan => plan,
    }
}

fn unsupported() -> Error {
    Error::new(ErrorKind::InvalidRequest, "DELETE takes conditions on tags and on the time index only")
        .with_reason(varve_model::Reason::Unsupported)
        .with_hint("combine comparisons of tags with constants and bounds of the time index by AND")
}
