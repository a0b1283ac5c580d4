//! Whether a grouping is of few groups by its nature, so that its partial states may meet at the frontend.
//!
//! Nothing counts groups before a query runs. But what dashboards ask groups by
//! tags, of which a table has no more combinations than series, and by a function
//! of time: there one more stage costs more than it saves. Fields and the bare
//! time are different in every row.

use std::sync::Arc;

use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};
use varve_model::schema::ColumnRole;

use crate::operator::RegionScanExec;

/// What is known of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Variety {
    /// A constant or a tag, or a time made coarse.
    Few,
    /// The time index as it is.
    Time,
    /// Anything else.
    Many,
}

/// Whether the groups are combinations of tags and of functions of time.
pub(super) fn are_few(aggregate: &AggregateExec) -> bool {
    let keys = aggregate.group_expr().expr().iter();
    keys.map(|(key, _)| of(key, aggregate.input())).all(|variety| variety == Variety::Few)
}

fn of(expr: &Arc<dyn PhysicalExpr>, input: &Arc<dyn ExecutionPlan>) -> Variety {
    if let Some(column) = expr.downcast_ref::<Column>() {
        return of_column(column.name(), input);
    }
    if expr.is::<Literal>() {
        return Variety::Few;
    }
    let parts = expr.children().into_iter().map(|part| of(part, input)).max();
    match parts {
        // date_bin, date_trunc and their like.
        Some(Variety::Time) if expr.is::<ScalarFunctionExpr>() => Variety::Few,
        Some(variety) => variety,
        None => Variety::Many,
    }
}

/// Names are enough: those that a projection changes are looked up in it.
fn of_column(name: &str, plan: &Arc<dyn ExecutionPlan>) -> Variety {
    if let Some(leaf) = plan.downcast_ref::<RegionScanExec>() {
        return match leaf.source().table.column(name).map(|column| column.role) {
            Some(ColumnRole::Tag) => Variety::Few,
            Some(ColumnRole::TimeIndex) => Variety::Time,
            _ => Variety::Many,
        };
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let made = projection.expr().iter().find(|made| made.alias == name);
        return made.map_or(Variety::Many, |made| of(&made.expr, projection.input()));
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        let key = aggregate.group_expr().expr().iter().find(|(_, alias)| alias == name);
        return key.map_or(Variety::Many, |(key, _)| of(key, aggregate.input()));
    }
    match plan.children()[..] {
        [child] => of_column(name, child),
        _ => Variety::Many,
    }
}
