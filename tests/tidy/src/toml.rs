//! The subset of TOML that our own lists use: tables of `key = "text"`,
//! `key = number` and `key = ["a", "b"]`. A parser crate would be this package's only dependency.

use std::collections::BTreeMap;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    List(Vec<String>),
}

/// Table name -> key -> value.
pub(crate) type Tables = BTreeMap<String, BTreeMap<String, Value>>;

/// Parses. Errors name the line.
pub(crate) fn parse(text: &str) -> Result<Tables, String> {
    let mut tables = Tables::new();
    let mut table = String::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut table);
            tables.entry(table.clone()).or_default();
            continue;
        }
        let (key, value) = line.split_once('=').ok_or_else(|| format!("line {}: no '='", number + 1))?;
        let value = value.trim();
        let value = match value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(items) => Value::List(items.split(',').map(unquote).filter(|item| !item.is_empty()).collect()),
            None => Value::Text(unquote(value)),
        };
        tables.entry(table.clone()).or_default().insert(unquote(key), value);
    }
    Ok(tables)
}

fn unquote(text: &str) -> String {
    text.trim().trim_matches('"').to_owned()
}
