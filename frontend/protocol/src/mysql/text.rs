//! Statements, read only as far as the wire itself must know them.
//!
//! KILL names connections, which only the wire has. Whether a text holds several
//! statements, the client decides when it connects. Everything else is the database's.

use super::Kill;
use super::failure::{Failure, SYNTAX};

/// What follows blanks, semicolons and comments. `/*! .. */` is no comment: MySQL runs it.
fn skip(mut text: &str) -> &str {
    loop {
        text = text.trim_start_matches(|letter: char| letter == ';' || letter.is_whitespace());
        let line = text.starts_with("--") || text.starts_with('#');
        let block = text.starts_with("/*") && !text.starts_with("/*!");
        text = match (line, block) {
            (true, _) => text.split_once('\n').map_or("", |(_, rest)| rest),
            (_, true) => text.split_once("*/").map_or("", |(_, rest)| rest),
            _ => return text,
        };
    }
}

/// Whether a text holds no statement at all.
pub(super) fn is_empty(text: &str) -> bool {
    skip(text).is_empty()
}

/// Whether a text holds more than one statement.
pub(super) fn several(text: &str) -> bool {
    let mut rest = skip(text);
    while let Some(at) = rest.find(['\'', '"', '`', ';', '-', '#', '/']) {
        let (first, after) = (rest.as_bytes()[at], &rest[at + 1..]);
        rest = match first {
            b';' => return !is_empty(after),
            b'-' if after.starts_with('-') => after.split_once('\n').map_or("", |(_, rest)| rest),
            b'#' => after.split_once('\n').map_or("", |(_, rest)| rest),
            b'/' if after.starts_with('*') && !after.starts_with("*!") => {
                after.split_once("*/").map_or("", |(_, rest)| rest)
            }
            b'-' | b'/' => after,
            quote => quoted(after, quote),
        };
    }
    false
}

/// What follows a quoted text. A doubled quote ends one text and begins the next, which comes to the same.
fn quoted(text: &str, quote: u8) -> &str {
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        if byte == quote {
            return &text[at + 1..];
        }
        if byte == b'\\' && quote != b'`' {
            bytes.next();
        }
    }
    ""
}

fn words(text: &str) -> impl Iterator<Item = String> {
    let text = skip(text).trim_end_matches(|letter: char| letter == ';' || letter.is_whitespace());
    text.split(|letter: char| letter.is_whitespace() || letter == '=').filter(|word| !word.is_empty()).map(|word| {
        let word = word.to_ascii_lowercase();
        word.trim_start_matches("@@").trim_start_matches("session.").to_owned()
    })
}

/// What a KILL statement ends; `None` for all other statements.
pub(super) fn kill(text: &str) -> Option<Result<(Kill, u32), Failure>> {
    let mut words = words(text);
    if words.next()? != "kill" {
        return None;
    }
    let rest = words.collect::<Vec<_>>();
    let target = match &rest.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["query", id] => id.parse().map(|id| (Kill::Query, id)).ok(),
        ["connection", id] | [id] => id.parse().map(|id| (Kill::Connection, id)).ok(),
        _ => None,
    };
    Some(target.ok_or_else(|| Failure::new(SYNTAX, "KILL takes [CONNECTION | QUERY] and the id of a connection")))
}

/// What a SET statement makes of autocommit; `None` for all other statements.
pub(super) fn autocommit(text: &str) -> Option<bool> {
    let mut words = words(text);
    let is_set = words.next()? == "set";
    let name = words.find(|word| !matches!(word.as_str(), "session" | "local"))?;
    if !is_set || name != "autocommit" {
        return None;
    }
    match words.next()?.as_str() {
        "1" | "on" | "true" => Some(true),
        "0" | "off" | "false" => Some(false),
        _ => None,
    }
}

/// A name as an identifier in SQL.
pub(super) fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
