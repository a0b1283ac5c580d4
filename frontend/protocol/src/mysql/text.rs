//! Statements, read only as far as the wire itself must know them.
//!
//! Whether a text may hold several statements, the client decides when it
//! connects; autocommit is in the status of every answer. Everything else is
//! the database's.

use std::fmt::Write as _;

use memchr::memmem;

use super::failure::{BAD_TEXT, Failure};

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

/// Bytes as text. Errors: they are not UTF-8.
pub(super) fn utf8(bytes: &[u8]) -> Result<String, Failure> {
    let text = std::str::from_utf8(bytes);
    text.map(str::to_owned).map_err(|_| Failure::new(BAD_TEXT, "Invalid utf8mb4 character string"))
}

/// What marks a quoted text as bytes of any value.
const INTRODUCER: &[u8] = b"_binary";

/// A statement as text. Drivers write binary values raw, as `_binary'..'`; they become `X'..'`.
/// Errors: something else is not UTF-8.
pub(super) fn statement(bytes: &[u8]) -> Result<String, Failure> {
    if memmem::find(bytes, INTRODUCER).is_none() {
        return utf8(bytes);
    }
    let mut text = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let is_word = text.last().is_some_and(|last: &u8| last.is_ascii_alphanumeric() || *last == b'_');
        let value = bytes[at..].strip_prefix(INTRODUCER).map(<[u8]>::trim_ascii_start).filter(|_| !is_word);
        if let Some(value) = value
            && value.first() == Some(&b'\'')
        {
            let end = closing(value);
            text.extend_from_slice(hex(&value[1..end]).as_bytes());
            at = bytes.len() - value.len() + (end + 1).min(value.len());
        } else if matches!(byte, b'\'' | b'"' | b'`') {
            let end = (at + closing(&bytes[at..]) + 1).min(bytes.len());
            text.extend_from_slice(&bytes[at..end]);
            at = end;
        } else {
            text.push(*byte);
            at += 1;
        }
    }
    utf8(&text)
}

/// The place of the quote that closes the first one, or the end.
fn closing(bytes: &[u8]) -> usize {
    let quote = bytes[0];
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' if quote != b'`' => at += 2,
            _ if *byte == quote && bytes.get(at + 1) == Some(&quote) => at += 2,
            _ if *byte == quote => return at,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The inside of a quoted text as a hexadecimal literal.
fn hex(quoted: &[u8]) -> String {
    let mut text = String::with_capacity(quoted.len() * 2 + 3);
    text.push_str("X'");
    let mut bytes = quoted.iter();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'\\' => match bytes.next() {
                Some(b'0') => 0,
                Some(b'b') => 8,
                Some(b't') => b'\t',
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                Some(b'Z') => 26,
                Some(other) => *other,
                None => b'\\',
            },
            // A quote inside is doubled.
            b'\'' => bytes.next().copied().unwrap_or(b'\''),
            byte => *byte,
        };
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02X}");
    }
    text.push('\'');
    text
}
