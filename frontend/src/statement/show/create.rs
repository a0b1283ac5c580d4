//! CREATE statements that would make what is there.

use std::fmt::Write as _;

use varve_model::schema::{Column, ColumnDefault, ColumnRole, LogicalType};
use varve_model::table::{DatabaseInfo, MergeMode};
use varve_model::value::Value;

use crate::catalog::types::{default_text, sql_type, ttl_text};
use crate::cluster::Table;

/// A table's statement, as GreptimeDB prints it.
pub(super) fn table_text(table: &Table) -> String {
    let schema = &table.info.schema;
    let mut lines = schema.columns.iter().map(column_text).collect::<Vec<_>>();
    lines.push(format!("  TIME INDEX ({})", quoted(&schema.time_index().name)));
    let key = schema.key_columns().map(|column| quoted(&column.name)).collect::<Vec<_>>();
    if !key.is_empty() {
        lines.push(format!("  PRIMARY KEY ({})", key.join(", ")));
    }
    let mut text =
        format!("CREATE TABLE IF NOT EXISTS {} (\n{}\n)\n\nENGINE=mito\n", quoted(&table.info.name), lines.join(",\n"));
    let options = options_of(table, true);
    if !options.is_empty() {
        let _ = write!(text, "WITH(\n{}\n)", options.join(",\n"));
    }
    text
}

/// A table's statement in the shape of MySQL's, whose tools read columns and keys out of it: types in lower
/// case, the time index beside its column, and what is no column or key after the closing parenthesis.
pub(super) fn mysql_table_text(table: &Table) -> String {
    let schema = &table.info.schema;
    let column = |column: &Column| {
        let kind = match column.logical {
            LogicalType::String => "text".to_owned(),
            other => sql_type(other).to_lowercase(),
        };
        let time = if column.role == ColumnRole::TimeIndex { " TIME INDEX" } else { "" };
        format!("{}{time}", column_with(column, &kind, mysql_literal))
    };
    let mut lines = schema.columns.iter().map(column).collect::<Vec<_>>();
    let key = schema.key_columns().map(|column| quoted(&column.name)).collect::<Vec<_>>();
    if !key.is_empty() {
        lines.push(format!("  PRIMARY KEY ({})", key.join(",")));
    }
    let mut text = format!("CREATE TABLE {} (\n{}\n) ENGINE=mito", quoted(&table.info.name), lines.join(",\n"));
    if let Some(comment) = &table.info.options.comment {
        let _ = write!(text, " COMMENT={}", mysql_literal(comment));
    }
    let options = options_of(table, false);
    if !options.is_empty() {
        let _ =
            write!(text, " WITH({})", options.iter().map(|option| option.trim_start()).collect::<Vec<_>>().join(", "));
    }
    text
}

fn column_text(column: &Column) -> String {
    column_with(column, sql_type(column.logical), literal)
}

/// A text as a constant.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A text as a constant where backslashes escape.
fn mysql_literal(text: &str) -> String {
    literal(&text.replace('\\', "\\\\"))
}

fn column_with(column: &Column, kind: &str, literal: fn(&str) -> String) -> String {
    let null = if column.nullable { "NULL" } else { "NOT NULL" };
    let mut text = format!("  {} {kind} {null}", quoted(&column.name));
    if let Some(default) = &column.default {
        let value = default_text(default, column.logical);
        let plain = matches!(default, ColumnDefault::CurrentTimestamp)
            || matches!(default, ColumnDefault::Value(Value::F64(_) | Value::U64(_) | Value::Bool(_)))
            || (matches!(default, ColumnDefault::Value(Value::I64(_))) && !is_time(column.logical));
        let value = if plain { value } else { literal(&value) };
        let _ = write!(text, " DEFAULT {value}");
    }
    if let Some(comment) = &column.comment {
        let _ = write!(text, " COMMENT {}", literal(comment));
    }
    text
}

fn is_time(logical: LogicalType) -> bool {
    matches!(logical, LogicalType::Timestamp(_) | LogicalType::Date)
}

/// The options of WITH, unless the comment has its own place.
fn options_of(table: &Table, with_comment: bool) -> Vec<String> {
    let info = &table.info;
    let mut options = Vec::new();
    match info.options.merge_mode {
        MergeMode::Append => options.push("  append_mode = 'true'".to_owned()),
        MergeMode::LastNonNull => options.push("  merge_mode = 'last_non_null'".to_owned()),
        MergeMode::LastRow => {}
    }
    if let Some(comment) = info.options.comment.as_ref().filter(|_| with_comment) {
        options.push(format!("  comment = {}", literal(comment)));
    }
    if info.partition.ranges.len() > 1 {
        options.push(format!("  regions = {}", info.partition.ranges.len()));
    }
    if let Some(ttl) = info.options.ttl.or(table.database.ttl) {
        options.push(format!("  ttl = '{}'", ttl_text(ttl)));
    }
    options
}

/// A database's statement.
pub(super) fn database_text(database: &DatabaseInfo) -> String {
    let mut text = format!("CREATE DATABASE IF NOT EXISTS {}", database.name);
    if let Some(ttl) = database.ttl {
        let _ = write!(text, "\nWITH(\n  ttl = '{}'\n)", ttl_text(ttl));
    }
    text
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
