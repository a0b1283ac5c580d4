use datafusion::common::ScalarValue;
use datafusion::logical_expr::{col, lit};
use varve_model::schema::{NewColumn, Schema};
use varve_model::time::TimeUnit;

use super::*;

fn table() -> ScanTable {
    let columns = vec![
        NewColumn::tag("host"),
        NewColumn::time("ts", TimeUnit::Millisecond),
        NewColumn::field("usage", LogicalType::Float64),
        NewColumn::field("note", LogicalType::String),
    ];
    ScanTable::new("t", &Schema::create(columns, &[]).unwrap())
}

fn ms(value: i64) -> Expr {
    lit(ScalarValue::TimestampMillisecond(Some(value), None))
}

fn ns(value: i64) -> Expr {
    lit(ScalarValue::TimestampNanosecond(Some(value), None))
}

fn op_of(expr: Expr) -> Option<MatchOp> {
    convert(&expr, &table()).map(|predicate| predicate.matchers[0].op.clone())
}

fn range_of(expr: Expr) -> TimeRange {
    convert(&expr, &table()).unwrap().time
}

#[test]
fn time_comparisons_become_closed_ranges() {
    assert_eq!(range_of(col("ts").gt_eq(ms(5))), TimeRange { start: 5, end: i64::MAX });
    assert_eq!(range_of(col("ts").gt(ms(5))), TimeRange { start: 6, end: i64::MAX });
    assert_eq!(range_of(ms(5).gt(col("ts"))), TimeRange { start: i64::MIN, end: 4 });
    assert_eq!(range_of(col("ts").between(ms(5), ms(9))), TimeRange { start: 5, end: 9 });
    assert_eq!(range_of(col("ts").gt(ms(i64::MAX))), TimeRange::EMPTY);
}

#[test]
fn a_finer_literal_rounds_to_the_side_that_keeps_the_meaning() {
    assert_eq!(range_of(col("ts").gt_eq(ns(1_500_000))).start, 2);
    assert_eq!(range_of(col("ts").gt(ns(1_500_000))).start, 2);
    assert_eq!(range_of(col("ts").lt(ns(1_500_000))).end, 1);
    assert_eq!(range_of(col("ts").lt(ns(2_000_000))).end, 1);
    assert_eq!(range_of(col("ts").lt_eq(ns(2_000_000))).end, 2);
    assert_eq!(range_of(col("ts").lt_eq(ns(-1))).end, -1);
    assert!(range_of(col("ts").eq(ns(1_500_000))).is_empty());
}

#[test]
fn tags_become_matchers_that_treat_null_as_unknown() {
    let predicate = convert(&col("host").not_eq(lit("a")), &table()).unwrap();
    assert_eq!(predicate.matchers[0].missing, MissingTag::Unknown);
    assert_eq!(op_of(col("host").eq(lit("a"))), Some(MatchOp::In(vec!["a".into()])));
    assert_eq!(
        op_of(col("host").eq(lit("b")).or(col("host").eq(lit("a")))),
        Some(MatchOp::In(vec!["a".into(), "b".into()]))
    );
    assert_eq!(op_of(col("host").is_null()), Some(MatchOp::IsNull));
    assert_eq!(op_of(col("host").like(lit("a.%_"))), Some(MatchOp::Regex("(?s)a\\..*.".into())));
    assert_eq!(op_of(col("host").gt(lit("a"))), Some(MatchOp::Between { low: Some(("a".into(), false)), high: None }));
}

#[test]
fn conditions_on_fields_or_on_both_sides_never_convert() {
    let refused = [
        col("usage").gt(lit(1.0)),
        col("note").eq(lit("a")),
        col("host").eq(lit("a")).and(col("usage").gt(lit(1.0))),
        col("host").eq(lit("a")).or(col("ts").gt(ms(1))),
        col("host").eq(col("note")),
        col("host").eq(lit(ScalarValue::Utf8(None))),
        col("ts").not_eq(ms(1)),
    ];
    for expr in refused {
        assert_eq!(convert(&expr, &table()), None, "{expr}");
    }
}
