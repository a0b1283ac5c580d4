//! KILL as MySQL has it, and PostgreSQL's functions for it as a statement of their own.

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Query, SelectItem, SetExpr, Value,
};
use datafusion::sql::sqlparser::parser::Parser;
use varve_model::id::ProcessId;
use varve_model::id::process::CancelScope;
use varve_model::{Error, Reason, Result};

use super::ast::Kill;
use super::parse::{skip, syntax, words};

/// The functions, and what they end.
const FUNCTIONS: [(&str, CancelScope); 2] =
    [("pg_cancel_backend", CancelScope::Statement), ("pg_terminate_backend", CancelScope::Connection)];

/// `KILL [CONNECTION | QUERY] id`; the id may be quoted.
pub(super) fn parse(parser: &mut Parser<'_>) -> Result<Kill> {
    skip(parser, 1);
    let scope = if words(parser, &["QUERY"]) {
        CancelScope::Statement
    } else {
        let _ = words(parser, &["CONNECTION"]);
        CancelScope::Connection
    };
    let value = parser.parse_value().map_err(syntax)?.value;
    let process = number(&value).ok_or_else(|| {
        let text = format!("KILL takes [CONNECTION | QUERY] and the id of a connection, not {value}");
        Error::invalid(text).with_reason(Reason::Syntax)
    })?;
    Ok(Kill { process, scope, function: None })
}

/// `SELECT pg_cancel_backend(id)` and nothing beside it; `None` for all other queries.
pub(super) fn of_query(query: &Query) -> Option<Kill> {
    let SetExpr::Select(select) = &*query.body else { return None };
    let [SelectItem::UnnamedExpr(Expr::Function(function))] = &select.projection[..] else { return None };
    let called = function.name.0.last()?.as_ident()?.value.to_lowercase();
    let (name, scope) = FUNCTIONS.into_iter().find(|(name, _)| *name == called)?;
    let FunctionArguments::List(list) = &function.args else { return None };
    let args = list.args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) => number(&value.value),
        _ => None,
    });
    let numbers = args.collect::<Option<Vec<_>>>()?;
    let process = match numbers[..] {
        [process] => process,
        // A time to wait may follow: what is ended here is ended at once.
        [process, _] if scope == CancelScope::Connection => process,
        _ => return None,
    };
    // Any clause that has a say in whether the function is called would show in the text.
    let args = list.args.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let is_alone = query.to_string() == format!("SELECT {}({args})", function.name);
    is_alone.then_some(Kill { process, scope, function: Some(name) })
}

fn number(value: &Value) -> Option<ProcessId> {
    let (Value::Number(text, _) | Value::SingleQuotedString(text)) = value else { return None };
    text.parse().ok().map(ProcessId)
}
