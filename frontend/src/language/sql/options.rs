//! The `WITH (..)` options of tables and databases.

use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use varve_model::table::{MergeMode, TableOptions, Ttl};
use varve_model::{Error, Reason, Result};

use super::parse::{expected, syntax};

/// Options that GreptimeDB's users write and that mean nothing here: layout is varve's own business.
const IGNORED: [&str; 13] = [
    "auto_create_table",
    "compaction.",
    "index.",
    "memtable.",
    "on_physical_table",
    "physical_metric_table",
    "region",
    "skip_wal",
    "sst_format",
    "storage",
    "table_data_model",
    "wal_options",
    "write_buffer_size",
];

/// `(k = v, 'k' = 'v', ..)`, keys in lower case; a value NULL is empty text.
pub(super) fn key_values(parser: &mut Parser<'_>) -> Result<Vec<(String, String)>> {
    parser.expect_token(&Token::LParen).map_err(syntax)?;
    let mut pairs = Vec::new();
    while !parser.consume_token(&Token::RParen) {
        pairs.push(key_value(parser)?);
        if !parser.consume_token(&Token::Comma) {
            parser.expect_token(&Token::RParen).map_err(syntax)?;
            break;
        }
    }
    Ok(pairs)
}

/// `k = v`.
pub(super) fn key_value(parser: &mut Parser<'_>) -> Result<(String, String)> {
    let key = key(parser)?;
    parser.expect_token(&Token::Eq).map_err(syntax)?;
    let minus = if parser.consume_token(&Token::Minus) { "-" } else { "" };
    let value = match parser.next_token().token {
        Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => text,
        Token::Number(text, _) => format!("{minus}{text}"),
        Token::Word(word) if word.value.eq_ignore_ascii_case("null") => String::new(),
        Token::Word(word) => word.value,
        _ => {
            parser.prev_token();
            return Err(expected("an option's value", parser));
        }
    };
    Ok((key, value))
}

/// `k`, `'k'` or `a.b.c`.
pub(super) fn key(parser: &mut Parser<'_>) -> Result<String> {
    let mut key = String::new();
    loop {
        match parser.next_token().token {
            Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => key.push_str(&text),
            Token::Word(word) => key.push_str(&word.value),
            _ => {
                parser.prev_token();
                return Err(expected("an option's key", parser));
            }
        }
        if !parser.consume_token(&Token::Period) {
            return Ok(key.to_lowercase());
        }
        key.push('.');
    }
}

/// What `WITH` of CREATE TABLE says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct WithOptions {
    pub(super) table: TableOptions,
    pub(super) regions: Option<u32>,
}

/// The meaning of CREATE TABLE's options. Errors: `BadValue`; `Unsupported` for an unknown key.
pub(super) fn table_options(pairs: &[(String, String)]) -> Result<WithOptions> {
    let mut options = WithOptions::default();
    let mut append = None;
    let mut merge = None;
    for (key, value) in pairs {
        match key.as_str() {
            "append_mode" => append = Some(boolean(key, value)?),
            "merge_mode" => merge = Some(merge_mode(value)?),
            "regions" => options.regions = Some(count(key, value)?),
            _ => set(&mut options.table, key, value)?,
        }
    }
    options.table.merge_mode = match (append, merge) {
        (Some(true), Some(_)) => {
            return Err(Error::invalid("append_mode and merge_mode exclude each other").with_reason(Reason::BadValue));
        }
        (Some(true), None) => MergeMode::Append,
        (_, merge) => merge.unwrap_or_default(),
    };
    Ok(options)
}

/// Sets one option of an existing table. Errors: as [`table_options`].
pub(crate) fn set(options: &mut TableOptions, key: &str, value: &str) -> Result<()> {
    match key {
        "ttl" => options.ttl = Some(ttl(value)?),
        "comment" => options.comment = Some(value.to_owned()),
        "append_mode" => {
            let append = boolean(key, value)?;
            options.merge_mode = match (append, options.merge_mode) {
                (true, _) => MergeMode::Append,
                (false, MergeMode::Append) => {
                    return Err(Error::invalid("append_mode can be switched on, not off").with_reason(Reason::BadValue));
                }
                (false, mode) => mode,
            };
        }
        "merge_mode" => options.merge_mode = merge_mode(value)?,
        _ if IGNORED.iter().any(|ignored| key.starts_with(ignored)) => {
            tracing::warn!(key, "table option has no meaning in varve, ignored");
        }
        _ => {
            return Err(Error::invalid(format!("unrecognized table option '{key}'")).with_reason(Reason::BadValue));
        }
    }
    Ok(())
}

/// Takes one option back to its default.
pub(crate) fn unset(options: &mut TableOptions, key: &str) -> Result<()> {
    match key {
        "ttl" => options.ttl = None,
        "comment" => options.comment = None,
        _ => set(options, key, "")?,
    }
    Ok(())
}

/// A ttl of a table or database.
pub(super) fn ttl(value: &str) -> Result<Ttl> {
    if value.eq_ignore_ascii_case("instant") {
        return Err(Error::unsupported("ttl 'instant' is not supported"));
    }
    Ttl::parse(value)
}

pub(super) fn count(key: &str, value: &str) -> Result<u32> {
    value.parse().map_err(|_| {
        Error::invalid(format!("option '{key}' needs a number, not '{value}'")).with_reason(Reason::BadValue)
    })
}

fn boolean(key: &str, value: &str) -> Result<bool> {
    match value.to_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => {
            Err(Error::invalid(format!("option '{key}' is true or false, not '{value}'")).with_reason(Reason::BadValue))
        }
    }
}

fn merge_mode(value: &str) -> Result<MergeMode> {
    match value {
        "last_row" => Ok(MergeMode::LastRow),
        "last_non_null" => Ok(MergeMode::LastNonNull),
        _ => Err(Error::invalid(format!("merge_mode is last_row or last_non_null, not '{value}'"))
            .with_reason(Reason::BadValue)),
    }
}
