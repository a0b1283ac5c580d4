//! ALTER TABLE and ALTER DATABASE.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use varve_model::schema::ColumnRole;
use varve_model::{Error, Reason, Result};
use varve_query::zone::Zone;

use super::ast::{AlterAction, Statement};
use super::create::column;
use super::options;
use super::parse::{database, expected, ident, name, skip, syntax, word, words};

pub(super) fn parse(parser: &mut Parser<'_>, zone: Zone) -> Result<Statement> {
    skip(parser, 1);
    if words(parser, &["DATABASE"]) || words(parser, &["SCHEMA"]) {
        return alter_database(parser);
    }
    if !words(parser, &["TABLE"]) {
        return match word(parser, 0) {
            Some(kind) => Err(Error::unsupported(format!("ALTER {kind} is not supported"))),
            None => Err(expected("TABLE or DATABASE", parser)),
        };
    }
    let table = name(parser)?;
    let mut actions = Vec::new();
    loop {
        action(parser, zone, &mut actions)?;
        if !parser.consume_token(&Token::Comma) {
            return Ok(Statement::AlterTable { table, actions });
        }
    }
}

fn alter_database(parser: &mut Parser<'_>) -> Result<Statement> {
    let database = database(parser)?;
    let ttl = if words(parser, &["SET"]) {
        match options::key_value(parser)? {
            (key, value) if key == "ttl" => Some(options::ttl(&value)?),
            (key, _) => return Err(Error::unsupported(format!("database option '{key}' cannot be altered"))),
        }
    } else if words(parser, &["UNSET"]) {
        match options::key(parser)?.as_str() {
            "ttl" => None,
            key => return Err(Error::unsupported(format!("database option '{key}' cannot be altered"))),
        }
    } else {
        return Err(expected("SET or UNSET", parser));
    };
    Ok(Statement::AlterDatabase { database, ttl })
}

fn action(parser: &mut Parser<'_>, zone: Zone, actions: &mut Vec<AlterAction>) -> Result<()> {
    if words(parser, &["ADD"]) {
        add_column(parser, zone, actions)
    } else if words(parser, &["DROP", "COLUMN"]) || words(parser, &["DROP"]) {
        actions.push(AlterAction::DropColumn(ident(&parser.parse_identifier().map_err(syntax)?)));
        Ok(())
    } else if words(parser, &["RENAME"]) {
        words(parser, &["TO"]);
        let new = name(parser)?;
        if new.database.is_some() {
            return Err(Error::unsupported("RENAME into another database"));
        }
        actions.push(AlterAction::Rename(new.table));
        Ok(())
    } else if words(parser, &["SET"]) {
        let mut pairs = Vec::new();
        loop {
            pairs.push(options::key_value(parser)?);
            if !parser.consume_token(&Token::Comma) {
                break;
            }
        }
        actions.push(AlterAction::SetOptions(pairs));
        Ok(())
    } else if words(parser, &["UNSET"]) {
        actions.push(AlterAction::UnsetOptions(vec![options::key(parser)?]));
        Ok(())
    } else {
        let verb = word(parser, 0).ok_or_else(|| expected("a change of the table", parser))?;
        Err(Error::unsupported(format!("ALTER TABLE .. {verb} is not supported")))
    }
}

/// `[COLUMN] [IF NOT EXISTS] c type .. [FIRST | AFTER x]`; neighbours share one change of the schema.
fn add_column(parser: &mut Parser<'_>, zone: Zone, actions: &mut Vec<AlterAction>) -> Result<()> {
    words(parser, &["COLUMN"]);
    let skip_existing = parser.parse_keywords(&[Keyword::IF, Keyword::NOT, Keyword::EXISTS]);
    let part = column(parser, zone)?;
    if words(parser, &["FIRST"]) || words(parser, &["AFTER"]) {
        return Err(Error::unsupported("ADD COLUMN .. FIRST or AFTER: columns stand in the order of their creation"));
    }
    let mut new = part.new;
    if part.time_index {
        return Err(
            Error::invalid(format!("column '{}' would be a second TIME INDEX", new.name)).with_reason(Reason::BadValue)
        );
    }
    if part.primary_key {
        new.role = ColumnRole::Tag;
    }
    if !new.nullable && new.default.is_none() {
        return Err(Error::invalid(format!(
            "column '{}' is NOT NULL and has no default for the existing rows",
            new.name
        ))
        .with_reason(Reason::BadValue));
    }
    match actions.last_mut() {
        Some(AlterAction::AddColumns { columns, if_not_exists }) if *if_not_exists == skip_existing => {
            columns.push(new);
        }
        _ => actions.push(AlterAction::AddColumns { columns: vec![new], if_not_exists: skip_existing }),
    }
    Ok(())
}
