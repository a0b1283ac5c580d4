//! What is done to a logical plan before DataFusion's own rules.
//!
//! Users compare timestamps with text and with plain counts of the column's
//! unit. DataFusion refuses counts and reads text in UTC whatever the session
//! says, so both become timestamps here.

use std::sync::Arc;

use arrow_schema::{DataType, TimeUnit as ArrowUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, ExprSchemable, LogicalPlan};
use varve_model::time::TimeUnit;
use varve_query::column::model_unit;
use varve_query::zone::{Zone, parse_timestamp};

/// The plan with constants beside timestamps read as timestamps in this zone.
pub(crate) fn read_time_literals(plan: LogicalPlan, zone: Zone) -> Result<LogicalPlan> {
    let read = plan.transform_up_with_subqueries(|plan| {
        let mut schema = merge_schema(&plan.inputs());
        if let LogicalPlan::TableScan(scan) = &plan {
            schema.merge(&scan.projected_schema);
        }
        let schema = Arc::new(schema);
        plan.map_expressions(|expr| expr.transform_up(|expr| Ok(rewrite(expr, &schema, zone))))?
            .map_data(LogicalPlan::recompute_schema)
    });
    read.map(|read| read.data)
}

fn rewrite(expr: Expr, schema: &DFSchema, zone: Zone) -> Transformed<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if op.supports_propagation() => {
            let (new_left, new_right) = match (unit_of(&left, schema), unit_of(&right, schema)) {
                (Some(unit), None) => (None, read(&right, unit, zone)),
                (None, Some(unit)) => (read(&left, unit, zone), None),
                _ => (None, None),
            };
            let changed = new_left.is_some() || new_right.is_some();
            let left = new_left.map_or(left, Box::new);
            let right = new_right.map_or(right, Box::new);
            let expr = Expr::BinaryExpr(BinaryExpr { left, op, right });
            if changed { Transformed::yes(expr) } else { Transformed::no(expr) }
        }
        Expr::Between(Between { expr, negated, low, high }) => match unit_of(&expr, schema) {
            Some(unit) => {
                let low = read(&low, unit, zone).map_or(low, Box::new);
                let high = read(&high, unit, zone).map_or(high, Box::new);
                Transformed::yes(Expr::Between(Between { expr, negated, low, high }))
            }
            None => Transformed::no(Expr::Between(Between { expr, negated, low, high })),
        },
        Expr::InList(InList { expr, list, negated }) => match unit_of(&expr, schema) {
            Some(unit) => {
                let list = list.into_iter().map(|item| read(&item, unit, zone).unwrap_or(item)).collect();
                Transformed::yes(Expr::InList(InList { expr, list, negated }))
            }
            None => Transformed::no(Expr::InList(InList { expr, list, negated })),
        },
        expr => Transformed::no(expr),
    }
}

/// The unit of an expression that is a timestamp without zone, and no constant.
fn unit_of(expr: &Expr, schema: &DFSchema) -> Option<ArrowUnit> {
    if matches!(expr, Expr::Literal(..)) {
        return None;
    }
    match expr.get_type(schema) {
        Ok(DataType::Timestamp(unit, None)) => Some(unit),
        _ => None,
    }
}

/// A constant as a timestamp; `None` for anything else, text that is none included.
fn read(expr: &Expr, unit: ArrowUnit, zone: Zone) -> Option<Expr> {
    let Expr::Literal(value, metadata) = expr else { return None };
    let stamp = match value {
        ScalarValue::Int64(Some(count)) => stamp(*count, unit),
        _ => {
            let text = value.try_as_str()??;
            // Finer digits than the column's keep their meaning.
            match parse_timestamp(text, TimeUnit::Nanosecond, zone) {
                Ok(nanos) if TimeUnit::Nanosecond.convert(nanos, model_unit(unit))?.checked_mul(per_tick(unit)) != Some(nanos) => {
                    stamp(nanos, ArrowUnit::Nanosecond)
                }
                _ => stamp(parse_timestamp(text, model_unit(unit), zone).ok()?, unit),
            }
        }
    };
    Some(Expr::Literal(stamp, metadata.clone()))
}

fn per_tick(unit: ArrowUnit) -> i64 {
    1_000_000_000 / model_unit(unit).per_second()
}

fn stamp(count: i64, unit: ArrowUnit) -> ScalarValue {
    match unit {
        ArrowUnit::Second => ScalarValue::TimestampSecond(Some(count), None),
        ArrowUnit::Millisecond => ScalarValue::TimestampMillisecond(Some(count), None),
        ArrowUnit::Microsecond => ScalarValue::TimestampMicrosecond(Some(count), None),
        ArrowUnit::Nanosecond => ScalarValue::TimestampNanosecond(Some(count), None),
    }
}
