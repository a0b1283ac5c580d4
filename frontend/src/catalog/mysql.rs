//! Queries of MySQL's clients in terms that DataFusion plans.
//!
//! Drivers ask for `@@variables` before anything else; programs read columns by
//! the text of their expression, as MySQL names them; and the drivers' queries of
//! the catalog count on MySQL's functions, which take any type for a text.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName, Query,
    Select, SelectItem, SetExpr, TableFactor, Value, VisitMut, VisitorMut,
};
use varve_model::{Error, Result};
use varve_protocol::session::Session;

use super::variable;

mod compare;
mod function;
#[cfg(test)]
mod tests;
mod text;

pub(super) use text::function as text_function;

/// Rewrites a query. Errors: `Unsupported` for an unknown variable.
pub(crate) fn adapt(query: &mut Query, session: &Session) -> Result<()> {
    name_columns(query, &session.database);
    match query.visit(&mut Adapter { session }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(name) => Err(Error::unsupported(format!("Unknown system variable '{name}'"))),
    }
}

/// Expressions without a name are named by their text; columns of information_schema, which drivers write in capitals
/// and look up so, as they are written.
fn name_columns(query: &mut Query, current: &str) {
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    // What is sorted after DISTINCT must have kept its name.
    let may_rename = select.distinct.is_none() || query.order_by.is_none();
    let is_catalog = may_rename && compare::describes(select, current);
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        if let Some(written) = column(expr) {
            let is_folded = written.quote_style.is_none() && written.value.contains(|c: char| c.is_ascii_uppercase());
            if is_catalog && is_folded {
                let alias = Ident::with_quote('"', &written.value);
                let expr = std::mem::replace(expr, Expr::Value(Value::Null.into()));
                *item = SelectItem::ExprWithAlias { expr, alias };
            }
            continue;
        }
        let text = match &expr {
            Expr::Value(value) => match &value.value {
                Value::SingleQuotedString(text) => text.clone(),
                other => other.to_string(),
            },
            other => other.to_string(),
        };
        let expr = std::mem::replace(expr, Expr::Value(Value::Null.into()));
        *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', text) };
    }
}

/// The name of a column, if the expression is one.
fn column(expr: &Expr) -> Option<&Ident> {
    match expr {
        Expr::Identifier(name) if !name.value.starts_with('@') => Some(name),
        Expr::CompoundIdentifier(parts) if !parts[0].value.starts_with('@') => parts.last(),
        _ => None,
    }
}

struct Adapter<'a> {
    session: &'a Session,
}

impl VisitorMut for Adapter<'_> {
    /// The name of a variable that there is not.
    type Break = String;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<String> {
        // Rows are not locked: a query sees what it sees.
        query.locks.clear();
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<String> {
        // MySQL's table of one row, for those who must name one.
        if let [from] = &select.from[..]
            && from.joins.is_empty()
            && matches!(&from.relation, TableFactor::Table { name, .. } if name.to_string().eq_ignore_ascii_case("dual"))
        {
            select.from.clear();
        }
        compare::fold(select, &self.session.database);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<String> {
        let name = match &*expr {
            Expr::Identifier(name) => name.value.as_str(),
            Expr::CompoundIdentifier(parts) if parts[0].value.starts_with("@@") => {
                parts.last().map_or("", |name| name.value.as_str())
            }
            _ => return ControlFlow::Continue(()),
        };
        let is_variable = name.starts_with("@@") || matches!(expr, Expr::CompoundIdentifier(_));
        if is_variable {
            let name = name.trim_start_matches("@@").to_lowercase();
            let Some(value) = variable::find(self.session, &name) else { return ControlFlow::Break(name) };
            *expr = literal(&name, value);
        } else if name.starts_with('@') {
            // A variable of the client's own: none is kept.
            *expr = Expr::Value(Value::Null.into());
        }
        ControlFlow::Continue(())
    }

    /// On the way up, so that what a rewrite puts in is not rewritten again.
    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<String> {
        function::standard(expr);
        ControlFlow::Continue(())
    }
}

/// Numbers are numbers here, and switches 1 and 0; SHOW VARIABLES has texts.
fn literal(name: &str, value: String) -> Expr {
    let is_text = name.starts_with("version") || name.starts_with("server_version");
    let number = match value.as_str() {
        "ON" => Some("1".to_owned()),
        "OFF" => Some("0".to_owned()),
        _ if !is_text && value.parse::<u64>().is_ok() => Some(value.clone()),
        _ => None,
    };
    Expr::Value(number.map_or(Value::SingleQuotedString(value), |number| Value::Number(number, false)).into())
}

/// `name(argument)`.
fn call(name: &str, argument: Expr) -> Expr {
    let args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))];
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}
