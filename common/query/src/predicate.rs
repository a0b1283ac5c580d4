//! SQL conditions as what the engine understands: a time range and tag matchers.
//!
//! A conjunct either converts fully, and is then *exact* and need not be
//! evaluated again, or does not convert at all and stays above the leaf.
//! Conditions on fields never convert.

use std::collections::BTreeSet;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Like, Operator};
use varve_model::matcher::{MatchOp, Matcher, MissingTag};
use varve_model::schema::{ColumnRole, LogicalType};
use varve_model::time::TimeRange;

use crate::column::ScanTable;

mod pattern;
#[cfg(test)]
mod tests;
mod time;

/// Conditions that hold together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predicate {
    /// Bounds of the time index.
    pub time: TimeRange,
    /// Conditions on tags, with SQL's meaning of a missing tag.
    pub matchers: Vec<Matcher>,
}

impl Default for Predicate {
    fn default() -> Self {
        Self { time: TimeRange::ALL, matchers: Vec::new() }
    }
}

impl Predicate {
    /// Both predicates hold.
    pub fn and(mut self, other: Self) -> Self {
        self.time = self.time.intersect(other.time);
        for matcher in other.matchers {
            if !self.matchers.contains(&matcher) {
                self.matchers.push(matcher);
            }
        }
        self
    }

    fn time(time: TimeRange) -> Self {
        Self { time, matchers: Vec::new() }
    }

    fn tag(tag: &str, op: MatchOp) -> Self {
        let matcher = Matcher { tag: tag.to_owned(), op, missing: MissingTag::Unknown };
        Self { time: TimeRange::ALL, matchers: vec![matcher] }
    }
}

/// The exact meaning of a condition, or `None` when it needs more than time and tags.
pub fn convert(expr: &Expr, table: &ScanTable) -> Option<Predicate> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            Some(convert(left, table)?.and(convert(right, table)?))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            either(convert(left, table)?, convert(right, table)?)
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match literal(right) {
            Some(value) => compare(left, *op, value, table),
            None => compare(right, op.swap()?, literal(left)?, table),
        },
        Expr::Between(Between { expr, negated: false, low, high }) => {
            let low = compare(expr, Operator::GtEq, literal(low)?, table)?;
            Some(low.and(compare(expr, Operator::LtEq, literal(high)?, table)?))
        }
        Expr::InList(InList { expr, list, negated }) => {
            let tag = tag_of(expr, table)?;
            let values = list.iter().map(|item| text(literal(item)?)).collect::<Option<BTreeSet<_>>>()?;
            let values = values.into_iter().collect();
            Some(Predicate::tag(tag, if *negated { MatchOp::NotIn(values) } else { MatchOp::In(values) }))
        }
        Expr::IsNull(expr) => Some(Predicate::tag(tag_of(expr, table)?, MatchOp::IsNull)),
        Expr::IsNotNull(expr) => Some(Predicate::tag(tag_of(expr, table)?, MatchOp::IsNotNull)),
        Expr::Like(Like { negated, expr, pattern, escape_char, case_insensitive }) => {
            let tag = tag_of(expr, table)?;
            let regex = pattern::like(&text(literal(pattern)?)?, escape_char.unwrap_or('\\'), *case_insensitive)?;
            Some(Predicate::tag(tag, if *negated { MatchOp::NotRegex(regex) } else { MatchOp::Regex(regex) }))
        }
        _ => None,
    }
}

/// `a OR b` when both name values of the same tag.
fn either(left: Predicate, right: Predicate) -> Option<Predicate> {
    if left.time != TimeRange::ALL || right.time != TimeRange::ALL {
        return None;
    }
    let ([left], [right]) = (&left.matchers[..], &right.matchers[..]) else { return None };
    match (&left.op, &right.op) {
        (MatchOp::In(a), MatchOp::In(b)) if left.tag == right.tag => {
            let values = a.iter().chain(b).cloned().collect::<BTreeSet<_>>();
            Some(Predicate::tag(&left.tag, MatchOp::In(values.into_iter().collect())))
        }
        _ => None,
    }
}

fn compare(expr: &Expr, op: Operator, value: &ScalarValue, table: &ScanTable) -> Option<Predicate> {
    if let Some(range) = time::compare(expr, op, value, table) {
        return Some(Predicate::time(range));
    }
    let tag = tag_of(expr, table)?;
    let value = text(value)?;
    let op = match op {
        Operator::Eq => MatchOp::In(vec![value]),
        Operator::NotEq => MatchOp::NotIn(vec![value]),
        Operator::Lt => MatchOp::Between { low: None, high: Some((value, false)) },
        Operator::LtEq => MatchOp::Between { low: None, high: Some((value, true)) },
        Operator::Gt => MatchOp::Between { low: Some((value, false)), high: None },
        Operator::GtEq => MatchOp::Between { low: Some((value, true)), high: None },
        Operator::RegexMatch => MatchOp::Regex(pattern::contains(&value, false)),
        Operator::RegexIMatch => MatchOp::Regex(pattern::contains(&value, true)),
        Operator::RegexNotMatch => MatchOp::NotRegex(pattern::contains(&value, false)),
        Operator::RegexNotIMatch => MatchOp::NotRegex(pattern::contains(&value, true)),
        _ => return None,
    };
    Some(Predicate::tag(tag, op))
}

/// The tag that an expression is, without its qualifier.
fn tag_of<'a>(expr: &Expr, table: &'a ScanTable) -> Option<&'a str> {
    let expr = match expr {
        // Text to text keeps every byte.
        Expr::Cast(cast) if cast.field.data_type().is_string() => &*cast.expr,
        other => other,
    };
    let Expr::Column(column) = expr else { return None };
    let column = table.column(&column.name)?;
    (column.role == ColumnRole::Tag && column.logical == LogicalType::String).then_some(column.name.as_str())
}

fn literal(expr: &Expr) -> Option<&ScalarValue> {
    match expr {
        Expr::Literal(value, _) if !value.is_null() => Some(value),
        _ => None,
    }
}

fn text(value: &ScalarValue) -> Option<String> {
    value.try_as_str().flatten().map(str::to_owned)
}
