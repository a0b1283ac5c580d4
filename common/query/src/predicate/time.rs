//! Comparisons of the time index with a constant, exactly, in i128 nanoseconds.

use arrow_schema::{DataType, TimeUnit as ArrowUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, Operator};
use varve_model::schema::{ColumnRole, LogicalType};
use varve_model::time::{TimeRange, TimeUnit};

use crate::column::{ScanTable, model_unit};

/// The range of the time index for which `expr op value` holds.
pub(super) fn compare(expr: &Expr, op: Operator, value: &ScalarValue, table: &ScanTable) -> Option<TimeRange> {
    let unit = time_unit_of(expr, table)?;
    let tick = nanos_per(unit);
    let nanos = nanos_of(value, unit)?;
    let floor = nanos.div_euclid(tick);
    let whole = nanos.rem_euclid(tick) == 0;
    let ceil = if whole { floor } else { floor + 1 };
    let (start, end) = match op {
        Operator::Eq if whole => (floor, floor),
        Operator::Eq => return Some(TimeRange::EMPTY),
        Operator::GtEq => (ceil, i128::from(i64::MAX)),
        Operator::Gt => (floor + 1, i128::from(i64::MAX)),
        Operator::LtEq => (i128::from(i64::MIN), floor),
        Operator::Lt => (i128::from(i64::MIN), ceil - 1),
        _ => return None,
    };
    if start > i128::from(i64::MAX) || end < i128::from(i64::MIN) || start > end {
        return Some(TimeRange::EMPTY);
    }
    let clamp = |bound: i128| bound.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
    Some(TimeRange { start: clamp(start), end: clamp(end) })
}

/// The unit of the time index that an expression is; casts that keep its value are looked through.
fn time_unit_of(expr: &Expr, table: &ScanTable) -> Option<TimeUnit> {
    match expr {
        Expr::Column(column) => {
            let column = table.column(&column.name)?;
            match (column.role, column.logical) {
                (ColumnRole::TimeIndex, LogicalType::Timestamp(unit)) => Some(unit),
                _ => None,
            }
        }
        Expr::Cast(cast) => {
            let unit = time_unit_of(&cast.expr, table)?;
            let keeps = match cast.field.data_type() {
                DataType::Timestamp(target, zone) => model_unit(*target) >= unit && zone.as_deref().is_none_or(is_utc),
                _ => false,
            };
            keeps.then_some(unit)
        }
        _ => None,
    }
}

fn is_utc(zone: &str) -> bool {
    matches!(zone, "UTC" | "utc" | "Z" | "+00:00" | "+00" | "Etc/UTC")
}

fn nanos_per(unit: TimeUnit) -> i128 {
    i128::from(1_000_000_000 / unit.per_second())
}

fn nanos_of(value: &ScalarValue, column: TimeUnit) -> Option<i128> {
    let (count, unit) = match value {
        ScalarValue::TimestampSecond(Some(count), _) => (*count, model_unit(ArrowUnit::Second)),
        ScalarValue::TimestampMillisecond(Some(count), _) => (*count, model_unit(ArrowUnit::Millisecond)),
        ScalarValue::TimestampMicrosecond(Some(count), _) => (*count, model_unit(ArrowUnit::Microsecond)),
        ScalarValue::TimestampNanosecond(Some(count), _) => (*count, model_unit(ArrowUnit::Nanosecond)),
        ScalarValue::Int64(Some(count)) => (*count, column),
        _ => return None,
    };
    Some(i128::from(count) * nanos_per(unit))
}
