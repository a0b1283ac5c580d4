//! Queries of PostgreSQL's clients in terms that DataFusion plans.
//!
//! psql and the drivers ask their catalog in a dialect of its own: operators
//! and functions qualified by `pg_catalog`, casts to `regclass`, collations,
//! correlated subqueries that are known to answer one row. Only queries that
//! name such a thing are touched. A SELECT that joins a relation which is
//! always empty here answers nothing, so it is replaced by one that says so;
//! its expressions, which may be beyond DataFusion, need no plan.

use std::ops::ControlFlow;

use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    ObjectName, ObjectNamePart, Query, Select, SelectItem, SetExpr, TableFactor, VisitMut, VisitorMut,
};
use varve_model::Result;
use varve_protocol::session::Session;
use varve_query::error::from_datafusion;

use super::{empty, function, oid};
use crate::cluster::View;

/// Rewrites a query and registers the functions that it calls. Errors: `Internal`.
pub(crate) fn adapt(query: &mut Query, session: &Session, view: &View, state: &mut SessionState) -> Result<()> {
    let mut adapter = Adapter { session, view, called: Vec::new() };
    let _ = query.visit(&mut adapter);
    for name in adapter.called {
        if let Some(function) = function::of(&name, session, view) {
            state.register_udf(std::sync::Arc::new(function)).map_err(from_datafusion)?;
        }
    }
    Ok(())
}

struct Adapter<'a> {
    session: &'a Session,
    view: &'a View,
    /// Functions that must be registered.
    called: Vec<String>,
}

impl VisitorMut for Adapter<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if joins_empty(select) {
            become_empty(select);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let SetExpr::Select(select) = query.body.as_ref()
            && joins_empty(select)
        {
            // What it was ordered by is gone with its columns.
            query.order_by = None;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<()> {
        let [ObjectNamePart::Identifier(name)] = &relation.0[..] else { return ControlFlow::Continue(()) };
        let known = super::is_table(&name.value.to_lowercase());
        let hidden = self.view.table(&self.session.database, &name.value).is_ok();
        if known && !hidden {
            *relation = ObjectName::from(vec![Ident::new("pg_catalog"), name.clone()]);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.expr(expr);
        ControlFlow::Continue(())
    }
}

impl Adapter<'_> {
    fn expr(&mut self, expr: &mut Expr) {
        let taken = std::mem::replace(expr, Expr::Value(ast::Value::Null.into()));
        *expr = match taken {
            Expr::Collate { expr, .. } => *expr,
            Expr::BinaryOp { left, op: BinaryOperator::PGCustomBinaryOperator(parts), right } => {
                Expr::BinaryOp { left, op: operator(parts), right }
            }
            Expr::Cast { kind, expr, data_type, array, format } => match type_name(&data_type) {
                Some(name) => self.cast(*expr, &name, kind),
                None => Expr::Cast { kind, expr, data_type, array, format },
            },
            Expr::Function(function) => self.function(function),
            Expr::Subquery(query) => guarded(one_row(query)),
            other => other,
        };
        // What a rewrite uncovered may need one itself.
        if let Expr::Collate { .. } = expr {
            self.expr(expr);
        }
    }

    fn function(&mut self, mut function: Function) -> Expr {
        if let [ObjectNamePart::Identifier(schema), rest] = &function.name.0[..]
            && schema.value.eq_ignore_ascii_case("pg_catalog")
        {
            function.name = ObjectName(vec![rest.clone()]);
        }
        let name = function.name.to_string().to_lowercase();
        if let Some(constant) = always_empty(&name, &function) {
            return Expr::Value(ast::Value::SingleQuotedString(constant.to_owned()).into());
        }
        if name == "pg_get_expr"
            && let Some(first) = first_argument(&function)
        {
            return first;
        }
        if matches!(name.as_str(), "current_schema" | "current_user" | "session_user" | "user" | "current_catalog")
            && matches!(function.args, FunctionArguments::None)
        {
            function.args = call(&name, Vec::new()).args;
        }
        self.called.push(name);
        Expr::Function(function)
    }

    /// A cast to one of PostgreSQL's own types.
    fn cast(&mut self, expr: Expr, to: &str, kind: CastKind) -> Expr {
        let inner = strip_cast(&expr);
        match (to, text_of(inner)) {
            ("regclass", Some(name)) => self.number_of_relation(&name),
            ("regtype", Some(name)) => {
                let found = oid::TYPES.iter().find(|known| known.1 == name || known.5 == name);
                found.map_or(Expr::Value(ast::Value::Null.into()), |known| number(known.0))
            }
            ("regclass", None) => self.call("pg_relation_name", expr),
            ("regtype", None) => self.call("format_type", expr),
            ("regnamespace", None) => self.call("pg_namespace_name", expr),
            ("oid" | "xid" | "cid", _) => cast_to(expr, DataType::BigInt(None), kind),
            _ => cast_to(expr, DataType::Text, kind),
        }
    }

    fn call(&mut self, name: &str, argument: Expr) -> Expr {
        self.called.push(name.to_owned());
        Expr::Function(call(name, vec![argument]))
    }

    fn number_of_relation(&self, name: &str) -> Expr {
        let parts = name.split('.').map(|part| part.trim_matches('"')).collect::<Vec<_>>();
        let (database, table) = match parts[..] {
            [.., database, table] => (database, table),
            [table] => (self.session.database.as_str(), table),
            [] => return Expr::Value(ast::Value::Null.into()),
        };
        match self.view.table(database, table) {
            Ok(table) => number(oid::table(table.info.id)),
            Err(_) => Expr::Value(ast::Value::Null.into()),
        }
    }
}

fn number(value: i64) -> Expr {
    Expr::Value(ast::Value::Number(value.to_string(), false).into())
}

fn cast_to(expr: Expr, data_type: DataType, kind: CastKind) -> Expr {
    Expr::Cast { kind, expr: Box::new(expr), data_type, array: false, format: None }
}

/// The expression without casts around a constant text.
fn strip_cast(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast { expr, .. } | Expr::Nested(expr) => strip_cast(expr),
        expr => expr,
    }
}

fn text_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            ast::Value::SingleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// PostgreSQL's own type that a cast names; `None` for those that DataFusion knows.
fn type_name(data_type: &DataType) -> Option<String> {
    let name = match data_type {
        DataType::Regclass => "regclass".to_owned(),
        DataType::Custom(name, _) => name.0.last()?.as_ident()?.value.to_lowercase(),
        _ => return None,
    };
    let ours =
        ["regclass", "regtype", "regnamespace", "regproc", "oid", "xid", "cid", "name", "text", "char", "varchar"];
    ours.contains(&name.as_str()).then_some(name)
}

/// `OPERATOR(pg_catalog.~)` as the plain operator.
fn operator(parts: Vec<String>) -> BinaryOperator {
    match parts.last().map(String::as_str) {
        Some("~") => BinaryOperator::PGRegexMatch,
        Some("~*") => BinaryOperator::PGRegexIMatch,
        Some("!~") => BinaryOperator::PGRegexNotMatch,
        Some("!~*") => BinaryOperator::PGRegexNotIMatch,
        Some("=") => BinaryOperator::Eq,
        Some("<>") => BinaryOperator::NotEq,
        Some("+") => BinaryOperator::Plus,
        _ => BinaryOperator::PGCustomBinaryOperator(parts),
    }
}

/// Lists that are empty for every relation here: storage options, and `ARRAY(SELECT ..)` of an empty relation.
fn always_empty(name: &str, function: &Function) -> Option<&'static str> {
    match (name, &function.args) {
        ("array_to_string", FunctionArguments::List(list)) => {
            let mentions = list.args.first()?.to_string().contains("reloptions");
            mentions.then_some("")
        }
        ("array", FunctionArguments::Subquery(query)) => match query.body.as_ref() {
            SetExpr::Select(select) if joins_empty(select) => Some("{}"),
            _ => None,
        },
        _ => None,
    }
}

fn first_argument(function: &Function) -> Option<Expr> {
    match &function.args {
        FunctionArguments::List(list) => match list.args.first()? {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
            _ => None,
        },
        _ => None,
    }
}

fn call(name: &str, arguments: Vec<Expr>) -> Function {
    let args = arguments.into_iter().map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))).collect();
    Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(ast::FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    }
}

/// A scalar subquery over the catalog answers one row at most; `max` says so to DataFusion.
fn one_row(mut query: Box<Query>) -> Box<Query> {
    if let SetExpr::Select(select) = query.body.as_mut()
        && names_catalog(select)
        && !joins_empty(select)
        && query.limit_clause.is_none()
        && let [SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }] =
            &mut select.projection[..]
        && matches!(&select.group_by, ast::GroupByExpr::Expressions(exprs, _) if exprs.is_empty())
        && !matches!(item, Expr::Function(function) if function.name.to_string() == "max")
    {
        let inner = std::mem::replace(item, Expr::Value(ast::Value::Null.into()));
        *item = Expr::Function(call("max", vec![inner]));
    }
    query
}

/// Moves conditions on outer columns alone out of a subquery: DataFusion cannot correlate them.
fn guarded(mut query: Box<Query>) -> Expr {
    let mut guards = Vec::new();
    if let SetExpr::Select(select) = query.body.as_mut()
        && names_catalog(select)
        && let Some(condition) = select.selection.take()
    {
        let own = relations(select).filter_map(alias).collect::<Vec<_>>();
        let outer = |expr: &Expr| match expr {
            Expr::CompoundIdentifier(parts) => !own.contains(&parts[0].value),
            _ => false,
        };
        let (outside, inside): (Vec<_>, Vec<_>) = conjuncts(condition).into_iter().partition(outer);
        guards = outside;
        select.selection = inside.into_iter().reduce(and);
    }
    let subquery = Expr::Subquery(query);
    match guards.into_iter().reduce(and) {
        None => subquery,
        Some(condition) => Expr::Case {
            case_token: ast::helpers::attached_token::AttachedToken::empty(),
            end_token: ast::helpers::attached_token::AttachedToken::empty(),
            operand: None,
            conditions: vec![ast::CaseWhen { condition, result: subquery }],
            else_result: None,
        },
    }
}

fn and(left: Expr, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op: BinaryOperator::And, right: Box::new(right) }
}

fn conjuncts(expr: Expr) -> Vec<Expr> {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            let mut all = conjuncts(*left);
            all.extend(conjuncts(*right));
            all
        }
        expr => vec![expr],
    }
}

fn alias(factor: &TableFactor) -> Option<String> {
    match factor {
        TableFactor::Table { alias: Some(alias), .. } => Some(alias.name.value.clone()),
        TableFactor::Table { name, .. } => Some(name.0.last()?.as_ident()?.value.clone()),
        _ => None,
    }
}

fn relations(select: &Select) -> impl Iterator<Item = &TableFactor> {
    select.from.iter().map(|from| &from.relation)
}

/// Relations without which no row comes out: the first ones, and those that are inner joined.
fn needed(select: &Select) -> impl Iterator<Item = &TableFactor> {
    let joined = select.from.iter().flat_map(|from| &from.joins).filter(|join| {
        use ast::JoinOperator as J;
        matches!(join.join_operator, J::Join(_) | J::Inner(_) | J::CrossJoin(_))
    });
    relations(select).chain(joined.map(|join| &join.relation))
}

fn catalog_name(factor: &TableFactor) -> Option<String> {
    let TableFactor::Table { name, .. } = factor else { return None };
    let name = match &name.0[..] {
        [ObjectNamePart::Identifier(schema), ObjectNamePart::Identifier(name)]
            if schema.value.eq_ignore_ascii_case("pg_catalog") =>
        {
            name
        }
        [ObjectNamePart::Identifier(name)] => name,
        _ => return None,
    };
    Some(name.value.to_lowercase())
}

fn names_catalog(select: &Select) -> bool {
    relations(select).filter_map(catalog_name).any(|name| name.starts_with("pg_"))
}

fn joins_empty(select: &Select) -> bool {
    let aggregates = !matches!(&select.group_by, ast::GroupByExpr::Expressions(exprs, _) if exprs.is_empty());
    !aggregates && needed(select).filter_map(catalog_name).any(|name| empty::NAMES.contains(&name.as_str()))
}

/// The same columns, without a row.
fn become_empty(select: &mut Select) {
    let item = |(at, item): (usize, SelectItem)| {
        let alias = match item {
            SelectItem::ExprWithAlias { alias, .. } => alias,
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => name,
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(mut parts)) if !parts.is_empty() => {
                parts.pop().expect("it is not empty")
            }
            _ => Ident::new(format!("column{}", at + 1)),
        };
        (alias, at)
    };
    let mut names = Vec::<Ident>::new();
    for (mut alias, at) in std::mem::take(&mut select.projection).into_iter().enumerate().map(item) {
        if names.contains(&alias) {
            alias = Ident::new(format!("column{}", at + 1));
        }
        names.push(alias);
    }
    let null = || cast_to(Expr::Value(ast::Value::Null.into()), DataType::Text, CastKind::Cast);
    select.projection = names.into_iter().map(|alias| SelectItem::ExprWithAlias { expr: null(), alias }).collect();
    select.from.clear();
    select.distinct = None;
    select.having = None;
    select.selection = Some(Expr::Value(ast::Value::Boolean(false).into()));
}
