//! Comparisons with words of information_schema, which MySQL makes without regard to case.
//!
//! Drivers write `IS_NULLABLE = 'yes'` where the column has `YES`. Names of
//! tables and columns are compared as they are: varve tells `Host` from `host`.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, ObjectNamePart, Select, TableFactor, Value, visit_expressions_mut,
};

use super::call;

/// Columns that hold words.
const WORDS: &[&str] = &[
    "column_key",
    "column_type",
    "constraint_name",
    "constraint_type",
    "data_type",
    "engine",
    "extra",
    "index_name",
    "index_type",
    "is_grantable",
    "is_nullable",
    "privilege_type",
    "routine_type",
    "table_type",
];

/// Makes the comparisons of a SELECT over information_schema blind to case.
pub(super) fn fold(select: &mut Select, current: &str) {
    if !describes(select, current) {
        return;
    }
    let _ = visit_expressions_mut(select, |expr| {
        comparison(expr);
        ControlFlow::<()>::Continue(())
    });
}

/// Whether a SELECT reads a table of information_schema.
pub(super) fn describes(select: &Select, current: &str) -> bool {
    let joined = select.from.iter().flat_map(|from| &from.joins).map(|join| &join.relation);
    select.from.iter().map(|from| &from.relation).chain(joined).any(|factor| is_described(factor, current))
}

fn is_described(factor: &TableFactor, current: &str) -> bool {
    let TableFactor::Table { name, .. } = factor else { return false };
    let database = match &name.0[..] {
        [.., ObjectNamePart::Identifier(database), _] => database.value.as_str(),
        _ => current,
    };
    database.eq_ignore_ascii_case("information_schema")
}

fn comparison(expr: &mut Expr) {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::Eq | BinaryOperator::NotEq, right } => {
            let _ = sides(left, right) || sides(right, left);
        }
        Expr::InList { expr, list, .. } if is_word(expr) && list.iter().all(is_literal) => {
            for item in list {
                lower_literal(item);
            }
            lower(expr);
        }
        Expr::Like { negated, any, expr: word, pattern, escape_char } if is_word(word) => {
            let null = || Box::new(Expr::Value(Value::Null.into()));
            *expr = Expr::ILike {
                negated: *negated,
                any: *any,
                expr: std::mem::replace(word, null()),
                pattern: std::mem::replace(pattern, null()),
                escape_char: escape_char.take(),
            };
        }
        _ => {}
    }
}

/// Lowers a word and a constant text that are compared; whether they are that.
fn sides(word: &mut Expr, text: &mut Expr) -> bool {
    let are = is_word(word) && lower_literal(text);
    if are {
        lower(word);
    }
    are
}

fn is_word(expr: &Expr) -> bool {
    let name = match expr {
        Expr::Identifier(name) => name,
        Expr::CompoundIdentifier(parts) if !parts.is_empty() => &parts[parts.len() - 1],
        _ => return false,
    };
    WORDS.iter().any(|word| name.value.eq_ignore_ascii_case(word))
}

fn is_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)))
}

/// Lowers a constant text; whether it is one.
fn lower_literal(expr: &mut Expr) -> bool {
    let Expr::Value(value) = expr else { return false };
    let Value::SingleQuotedString(text) = &mut value.value else { return false };
    *text = text.to_lowercase();
    true
}

fn lower(expr: &mut Expr) {
    let inner = std::mem::replace(expr, Expr::Value(Value::Null.into()));
    *expr = call("lower", inner);
}
