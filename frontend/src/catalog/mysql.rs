//! Queries of MySQL's clients in terms that DataFusion plans.
//!
//! Drivers ask for `@@variables` before anything else; programs read columns by
//! the text of their expression, as MySQL names them.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    CaseWhen, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, Query, Select,
    SelectItem, SetExpr, TableFactor, Value, VisitMut, VisitorMut,
};
use varve_model::{Error, Result};
use varve_protocol::session::Session;

use super::variable;

/// Rewrites a query. Errors: `Unsupported` for an unknown variable.
pub(crate) fn adapt(query: &mut Query, session: &Session) -> Result<()> {
    name_columns(query);
    match query.visit(&mut Adapter { session }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(name) => Err(Error::unsupported(format!("Unknown system variable '{name}'"))),
    }
}

/// Expressions without a name are named by their text.
fn name_columns(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        if is_column(expr) {
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

fn is_column(expr: &Expr) -> bool {
    match expr {
        Expr::Identifier(name) => !name.value.starts_with('@'),
        Expr::CompoundIdentifier(parts) => !parts[0].value.starts_with('@'),
        _ => false,
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
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<String> {
        if let Expr::Function(function) = expr
            && let Some(case) = standard(function)
        {
            *expr = case;
        }
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
}

/// MySQL's own functions by the names and the order that DataFusion has. A CASE, where there is no function.
fn standard(function: &mut Function) -> Option<Expr> {
    let name = match function.name.to_string().to_ascii_lowercase().as_str() {
        "if" => return if_function(function),
        "ucase" => "upper",
        "lcase" => "lower",
        "locate" => {
            if let FunctionArguments::List(list) = &mut function.args
                && let [_, _] = list.args[..]
            {
                list.args.reverse();
            }
            "strpos"
        }
        _ => return None,
    };
    function.name = ObjectName::from(vec![Ident::new(name)]);
    None
}

/// `IF(condition, yes, no)` as CASE; `None` for other functions.
fn if_function(function: &mut Function) -> Option<Expr> {
    let FunctionArguments::List(list) = &mut function.args else { return None };
    if list.args.len() != 3 {
        return None;
    }
    let mut parts = list.args.drain(..).map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => expr,
        _ => Expr::Value(Value::Null.into()),
    });
    let (condition, result, other) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition, result }],
        else_result: Some(Box::new(other)),
    })
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
