//! CREATE DATABASE and CREATE TABLE in GreptimeDB's grammar.

use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use varve_model::schema::{ColumnDefault, ColumnRole, LogicalType, NewColumn};
use varve_model::value::Value;
use varve_model::{Error, Reason, Result};
use varve_query::zone::Zone;

use super::ast::{CreateDatabase, CreateTable, Statement};
use super::literal::{Literal, convert, literal};
use super::options;
use super::parse::{database, expected, ident, name, skip, syntax, word, words};
use super::types::logical_type;

pub(super) fn parse(parser: &mut Parser<'_>, zone: Zone) -> Result<Statement> {
    skip(parser, 1);
    if words(parser, &["TABLE"]) {
        return table(parser, zone).map(|table| Statement::CreateTable(Box::new(table)));
    }
    if words(parser, &["DATABASE"]) || words(parser, &["SCHEMA"]) {
        return create_database(parser).map(Statement::CreateDatabase);
    }
    match word(parser, 0) {
        Some(kind) => Err(Error::unsupported(format!("CREATE {kind} is not supported"))),
        None => Err(expected("TABLE or DATABASE", parser)),
    }
}

fn if_not_exists(parser: &mut Parser<'_>) -> bool {
    parser.parse_keywords(&[Keyword::IF, Keyword::NOT, Keyword::EXISTS])
}

fn create_database(parser: &mut Parser<'_>) -> Result<CreateDatabase> {
    let if_not_exists = if_not_exists(parser);
    let mut create = CreateDatabase { name: database(parser)?, if_not_exists, ttl: None, regions: None };
    if parser.parse_keyword(Keyword::WITH) {
        for (key, value) in options::key_values(parser)? {
            match key.as_str() {
                "ttl" => create.ttl = Some(options::ttl(&value)?),
                "regions" => create.regions = Some(options::count(&key, &value)?),
                // Templates of tables to come: accepted when they would be valid for one.
                _ => drop(options::table_options(&[(key, value)])?),
            }
        }
    }
    Ok(create)
}

/// What the parts of a column list say, before roles are known.
#[derive(Default)]
struct Parts {
    columns: Vec<NewColumn>,
    time_index: Vec<String>,
    inline_keys: Vec<String>,
    primary_key: Option<Vec<String>>,
}

fn table(parser: &mut Parser<'_>, zone: Zone) -> Result<CreateTable> {
    let if_not_exists = if_not_exists(parser);
    let name = name(parser)?;
    if words(parser, &["LIKE"]) {
        return Err(Error::unsupported("CREATE TABLE LIKE is not supported"));
    }
    let mut parts = Parts::default();
    parser.expect_token(&Token::LParen).map_err(syntax)?;
    while !parser.consume_token(&Token::RParen) {
        part(parser, zone, &mut parts)?;
        if !parser.consume_token(&Token::Comma) {
            parser.expect_token(&Token::RParen).map_err(syntax)?;
            break;
        }
    }
    let mut with = options::WithOptions::default();
    let mut comment = None;
    loop {
        if words(parser, &["ENGINE"]) {
            let _ = parser.consume_token(&Token::Eq);
            engine(parser)?;
        } else if words(parser, &["PARTITION"]) {
            return Err(Error::unsupported("PARTITION ON COLUMNS is not supported")
                .with_hint("WITH (regions = n) spreads a table over n regions by the hash of its tags"));
        } else if words(parser, &["COMMENT"]) {
            let _ = parser.consume_token(&Token::Eq);
            comment = Some(parser.parse_literal_string().map_err(syntax)?);
        } else if parser.parse_keyword(Keyword::WITH) {
            with = options::table_options(&options::key_values(parser)?)?;
        } else {
            break;
        }
    }
    with.table.comment = with.table.comment.or(comment);
    let (columns, primary_key) = roles(parts)?;
    Ok(CreateTable { name, if_not_exists, columns, primary_key, options: with.table, regions: with.regions })
}

fn engine(parser: &mut Parser<'_>) -> Result<()> {
    let engine = ident(&parser.parse_identifier().map_err(syntax)?).to_lowercase();
    match engine.as_str() {
        "mito" | "metric" | "varve" => Ok(()),
        _ => Err(Error::unsupported(format!("engine '{engine}' is not supported"))),
    }
}

/// One column or constraint.
fn part(parser: &mut Parser<'_>, zone: Zone, parts: &mut Parts) -> Result<()> {
    if words(parser, &["TIME", "INDEX"]) {
        let names = name_list(parser)?;
        parts.time_index.extend(names);
    } else if words(parser, &["PRIMARY", "KEY"]) {
        if parts.primary_key.replace(name_list(parser)?).is_some() {
            return Err(Error::invalid("PRIMARY KEY stands twice").with_reason(Reason::Syntax));
        }
    } else if words(parser, &["CONSTRAINT"]) {
        parser.parse_identifier().map_err(syntax)?;
        part(parser, zone, parts)?;
    } else {
        let column = column(parser, zone)?;
        if column.time_index {
            parts.time_index.push(column.new.name.clone());
        }
        if column.primary_key {
            parts.inline_keys.push(column.new.name.clone());
        }
        parts.columns.push(column.new);
    }
    Ok(())
}

fn name_list(parser: &mut Parser<'_>) -> Result<Vec<String>> {
    parser.expect_token(&Token::LParen).map_err(syntax)?;
    let mut names = Vec::new();
    while !parser.consume_token(&Token::RParen) {
        names.push(ident(&parser.parse_identifier().map_err(syntax)?));
        if !parser.consume_token(&Token::Comma) {
            parser.expect_token(&Token::RParen).map_err(syntax)?;
            break;
        }
    }
    Ok(names)
}

/// A column with what stands inline.
pub(super) struct ColumnPart {
    pub(super) new: NewColumn,
    pub(super) time_index: bool,
    pub(super) primary_key: bool,
}

/// `name type options..`.
pub(super) fn column(parser: &mut Parser<'_>, zone: Zone) -> Result<ColumnPart> {
    let name = ident(&parser.parse_identifier().map_err(syntax)?);
    let logical = logical_type(&parser.parse_data_type().map_err(syntax)?)?;
    let mut part = ColumnPart { new: NewColumn::field(name, logical), time_index: false, primary_key: false };
    loop {
        if words(parser, &["NOT", "NULL"]) {
            part.new.nullable = false;
        } else if words(parser, &["NULL"]) {
            part.new.nullable = true;
        } else if words(parser, &["DEFAULT"]) {
            let expr = parser.parse_expr().map_err(syntax)?;
            part.new.default = default(&expr, &part.new, zone)?;
        } else if words(parser, &["TIME", "INDEX"]) {
            part.time_index = true;
        } else if words(parser, &["PRIMARY", "KEY"]) {
            part.primary_key = true;
        } else if words(parser, &["COMMENT"]) {
            part.new.comment = Some(parser.parse_literal_string().map_err(syntax)?);
        } else if index_kind(parser) {
            // Every tag is in the series index and every field is scanned: nothing to build.
            if parser.parse_keyword(Keyword::WITH) {
                options::key_values(parser)?;
            }
        } else {
            return Ok(part);
        }
    }
}

fn index_kind(parser: &mut Parser<'_>) -> bool {
    ["INVERTED", "SKIPPING", "FULLTEXT"].iter().any(|kind| words(parser, &[kind, "INDEX"]) || words(parser, &[kind]))
}

/// The value of DEFAULT; `DEFAULT NULL` is no default.
fn default(expr: &Expr, column: &NewColumn, zone: Zone) -> Result<Option<ColumnDefault>> {
    if let Expr::Function(function) = expr {
        let name = function.name.to_string().to_lowercase();
        if matches!(name.as_str(), "now" | "current_timestamp" | "localtimestamp") {
            if !matches!(column.logical, LogicalType::Timestamp(_)) {
                return Err(Error::invalid(format!(
                    "column '{}' is no timestamp: DEFAULT {name}() does not fit",
                    column.name
                ))
                .with_reason(Reason::BadValue));
            }
            return Ok(Some(ColumnDefault::CurrentTimestamp));
        }
    }
    let constant = literal(expr, &[])
        .filter(|literal| *literal != Literal::Default)
        .ok_or_else(|| Error::unsupported(format!("DEFAULT {expr} of column '{}' is no constant", column.name)))?;
    match convert(&constant, column.logical, zone)? {
        Value::Null => Ok(None),
        value => Ok(Some(ColumnDefault::Value(value))),
    }
}

/// Gives every column its role and the key its order.
fn roles(parts: Parts) -> Result<(Vec<NewColumn>, Vec<String>)> {
    let Parts { mut columns, time_index, inline_keys, primary_key } = parts;
    let [time] = &time_index[..] else {
        return Err(Error::invalid(format!("a table needs exactly one TIME INDEX column, not {}", time_index.len()))
            .with_reason(Reason::BadValue));
    };
    let primary_key = match (primary_key, inline_keys.len()) {
        (None, 0 | 1) => inline_keys,
        (Some(names), 0) => names,
        (None, _) => {
            return Err(Error::invalid("PRIMARY KEY may stand inline on one column only; use PRIMARY KEY (a, b)")
                .with_reason(Reason::Syntax));
        }
        (Some(_), _) => return Err(Error::invalid("PRIMARY KEY stands twice").with_reason(Reason::Syntax)),
    };
    for named in primary_key.iter().chain([time]) {
        if !columns.iter().any(|column| column.name == *named) {
            return Err(
                Error::invalid(format!("column '{named}' of the key does not exist")).with_reason(Reason::Column)
            );
        }
    }
    if primary_key.contains(time) {
        return Err(Error::invalid(format!("column '{time}' is the TIME INDEX and cannot be in the PRIMARY KEY"))
            .with_reason(Reason::BadValue));
    }
    for column in &mut columns {
        if column.name == *time {
            column.role = ColumnRole::TimeIndex;
            column.nullable = false;
        } else if primary_key.contains(&column.name) {
            column.role = ColumnRole::Tag;
        }
    }
    Ok((columns, primary_key))
}
