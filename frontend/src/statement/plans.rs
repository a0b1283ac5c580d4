//! Optimized plans of queries that were asked before: a quarter of a small query's work.
//!
//! A plan is used again only when it would be made again exactly so: for the
//! same query in the same database and time zone, over the very tables of the
//! view that the statement sees. What reads the clock, the session or the catalog
//! is planned each time. Physical plans are not kept: they carry the state of
//! their execution.

use std::any::Any;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::sql::sqlparser::ast::{self, Query};
use moka::sync::Cache;
use varve_model::limits::PLAN_CACHE_BYTES_MAX;
use varve_protocol::session::Wire;
use varve_service::telemetry::cache::{self, Lookup};

use super::Scope;
use crate::catalog::RegionTable;
use crate::cluster::{Table, View};

#[cfg(test)]
mod tests;

/// Bytes that a plan takes for each byte of its text, for each column of each mention of a table, whose schema it
/// holds, and beside them: seen, not exact.
const BYTES_PER_TEXT_BYTE: usize = 64;
const BYTES_PER_COLUMN: usize = 300;
const PLAN_BYTES: usize = 8 << 10;

/// Plans of one frontend, bounded by [`PLAN_CACHE_BYTES_MAX`].
#[derive(Debug)]
pub(super) struct Plans(Cache<Key, Arc<Kept>>);

/// What a plan depends on beside its tables.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    is_mysql: bool,
    database: String,
    time_zone: String,
    query: Query,
}

#[derive(Debug)]
struct Kept {
    plan: LogicalPlan,
    tables: Vec<Arc<Table>>,
    bytes: u32,
}

impl Key {
    /// The key of a query as it was parsed; `None` when its values come apart from it, or its
    /// meaning from the client's variables.
    pub(super) fn of(scope: &Scope, query: &Query) -> Option<Self> {
        let is_mysql = scope.session.wire == Wire::Mysql;
        if !scope.params.is_empty() || (is_mysql && names_variables(query)) {
            return None;
        }
        let (database, time_zone) = (scope.session.database.clone(), scope.session.time_zone.clone());
        Some(Self { is_mysql, database, time_zone, query: query.clone() })
    }
}

/// Whether a query names `@x` or `@@x`.
fn names_variables(query: &Query) -> bool {
    let found = ast::visit_expressions(query, |expr| match expr {
        ast::Expr::Identifier(name) if name.value.starts_with('@') => ControlFlow::Break(()),
        ast::Expr::CompoundIdentifier(parts) if parts[0].value.starts_with('@') => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

impl Plans {
    pub(super) fn new() -> Self {
        let cache = Cache::builder().max_capacity(PLAN_CACHE_BYTES_MAX).weigher(|_, kept: &Arc<Kept>| kept.bytes);
        Self(cache.build())
    }

    /// The plan of this query, if it is known and its tables are still those of the view.
    pub(super) fn get(&self, key: &Key, view: &View) -> Option<LogicalPlan> {
        let kept = self.0.get(key).filter(|kept| kept.tables.iter().all(|table| is_current(table, view)));
        cache::count(cache::Cache::Plan, if kept.is_some() { Lookup::Hit } else { Lookup::Miss });
        kept.map(|kept| kept.plan.clone())
    }

    /// Keeps a plan.
    pub(super) fn put(&self, key: Key, plan: LogicalPlan, tables: Vec<Arc<Table>>) {
        let text = key.query.to_string().len();
        let columns = tables.iter().map(|table| table.scan.columns.len()).sum::<usize>();
        let bytes = PLAN_BYTES + text * BYTES_PER_TEXT_BYTE + columns * BYTES_PER_COLUMN;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.0.insert(key, Arc::new(Kept { plan, tables, bytes }));
    }
}

/// A table of a view is made anew whenever anything of it changes: schema, options, routes, database.
fn is_current(table: &Arc<Table>, view: &View) -> bool {
    let found = view.table(&table.database.name, &table.info.name);
    found.is_ok_and(|found| Arc::ptr_eq(found, table))
}

/// The tables of a plan that was not optimized yet, when nothing else decides what it answers;
/// `None` when it reads the clock, the session, chance, or a table that describes.
pub(super) fn tables_of(plan: &LogicalPlan) -> Option<Vec<Arc<Table>>> {
    let mut tables = Vec::new();
    let mut is_fixed = true;
    let visited = plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::TableScan(scan) => {
                let provider = source_as_provider(&scan.source)?;
                match (provider.as_ref() as &dyn Any).downcast_ref::<RegionTable>() {
                    Some(table) => tables.push(Arc::clone(table.table())),
                    None => is_fixed = false,
                }
            }
            LogicalPlan::Extension(_) => is_fixed = false,
            _ => {}
        }
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                is_fixed &= is_fixed_expr(expr);
                Ok(if is_fixed { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
            })
        })
    });
    (is_fixed && visited.is_ok()).then_some(tables)
}

fn is_fixed_expr(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarFunction(call) => call.func.signature().volatility == Volatility::Immutable,
        Expr::Placeholder(_) | Expr::ScalarVariable(..) => false,
        _ => true,
    }
}
