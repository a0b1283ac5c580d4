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
use datafusion::logical_expr::{Between, BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};
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
    let new = match &expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (unit_of(left, schema), unit_of(right, schema)) {
            (Some(unit), None) => read(right, unit, zone).and_then(|moment| compare(left, *op, moment, unit)),
            (None, Some(unit)) => {
                let swapped = op.swap().zip(read(left, unit, zone));
                swapped.and_then(|(op, moment)| compare(right, op, moment, unit))
            }
            _ => None,
        },
        Expr::Between(between) => unit_of(&between.expr, schema).map(|unit| within(between, unit, zone)),
        Expr::InList(list) => unit_of(&list.expr, schema).map(|unit| among(list, unit, zone)),
        _ => None,
    };
    new.map_or_else(|| Transformed::no(expr), Transformed::yes)
}

/// `column op moment`. A moment between two ticks of the column gets the meaning that it would have
/// beside finer values: DataFusion itself would cut its digits off.
fn compare(column: &Expr, op: Operator, moment: Moment, unit: ArrowUnit) -> Option<Expr> {
    let binary = |op, right| Expr::BinaryExpr(BinaryExpr::new(Box::new(column.clone()), op, Box::new(right)));
    let tick = || stamp(moment.floor, unit);
    Some(match op {
        Operator::Eq | Operator::NotEq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq
            if moment.exact =>
        {
            binary(op, tick())
        }
        Operator::Lt | Operator::LtEq => binary(Operator::LtEq, tick()),
        Operator::Gt | Operator::GtEq => binary(Operator::Gt, tick()),
        // Never, and always; unknown for NULL like any comparison.
        Operator::Eq => binary(Operator::NotEq, column.clone()),
        Operator::NotEq => binary(Operator::Eq, column.clone()),
        Operator::IsDistinctFrom | Operator::IsNotDistinctFrom if moment.exact => binary(op, tick()),
        _ => return None,
    })
}

fn within(between: &Between, unit: ArrowUnit, zone: Zone) -> Expr {
    let low = read(&between.low, unit, zone)
        .and_then(|low| if low.exact { Some(low.floor) } else { low.floor.checked_add(1) });
    let high = read(&between.high, unit, zone).map(|high| high.floor);
    let bound = |read: Option<i64>, old: &Expr| Box::new(read.map_or_else(|| old.clone(), |tick| stamp(tick, unit)));
    Expr::Between(Between {
        expr: between.expr.clone(),
        negated: between.negated,
        low: bound(low, &between.low),
        high: bound(high, &between.high),
    })
}

fn among(list: &InList, unit: ArrowUnit, zone: Zone) -> Expr {
    let item = |item: &Expr| match read(item, unit, zone) {
        Some(moment) if moment.exact => stamp(moment.floor, unit),
        _ => item.clone(),
    };
    Expr::InList(InList { expr: list.expr.clone(), list: list.list.iter().map(item).collect(), negated: list.negated })
}

/// The unit of an expression that is a timestamp without zone, and no constant.
fn unit_of(expr: &Expr, schema: &DFSchema) -> Option<ArrowUnit> {
    let constant = match expr {
        Expr::Cast(cast) => &cast.expr,
        expr => expr,
    };
    if matches!(constant, Expr::Literal(..)) {
        return None;
    }
    match expr.get_type(schema) {
        Ok(DataType::Timestamp(unit, None)) => Some(unit),
        _ => None,
    }
}

/// A point in time on a column's ticks.
#[derive(Clone, Copy, Debug)]
struct Moment {
    /// The last tick not after it.
    floor: i64,
    /// Whether it is on that tick.
    exact: bool,
}

/// A constant as a moment; `None` for anything else, text that is no timestamp included.
fn read(expr: &Expr, unit: ArrowUnit, zone: Zone) -> Option<Moment> {
    let value = match expr {
        Expr::Literal(value, _) => value,
        // TIMESTAMP '..'
        Expr::Cast(cast) if matches!(cast.field.data_type(), DataType::Timestamp(_, None)) => match &*cast.expr {
            Expr::Literal(value, _) if value.data_type().is_string() => value,
            _ => return None,
        },
        _ => return None,
    };
    if let ScalarValue::Int64(Some(count)) = value {
        return Some(Moment { floor: *count, exact: true });
    }
    let text = value.try_as_str()??;
    let floor = parse_timestamp(text, model_unit(unit), zone).ok()?;
    let nanos = parse_timestamp(text, TimeUnit::Nanosecond, zone).ok();
    // Beyond the range of nanoseconds nobody writes finer digits.
    let exact = nanos.is_none_or(|nanos| floor.checked_mul(per_tick(unit)) == Some(nanos));
    Some(Moment { floor, exact })
}

fn per_tick(unit: ArrowUnit) -> i64 {
    1_000_000_000 / model_unit(unit).per_second()
}

fn stamp(count: i64, unit: ArrowUnit) -> Expr {
    let value = match unit {
        ArrowUnit::Second => ScalarValue::TimestampSecond(Some(count), None),
        ArrowUnit::Millisecond => ScalarValue::TimestampMillisecond(Some(count), None),
        ArrowUnit::Microsecond => ScalarValue::TimestampMicrosecond(Some(count), None),
        ArrowUnit::Nanosecond => ScalarValue::TimestampNanosecond(Some(count), None),
    };
    Expr::Literal(value, None)
}
