//! `columns`: GreptimeDB's columns, which are MySQL's and three more.
//!
//! Over MySQL's wire their values are MySQL's, too: its tools decide by them how
//! to read a column and which columns tell rows apart.

use varve_model::schema::{Column, ColumnDefault, ColumnRole, LogicalType};
use varve_model::table::TableInfo;
use varve_query::context::CATALOG;

use super::super::system::Kind::{Int, Text};
use super::super::system::{Cell, Columns, Sheet, Viewer};
use super::super::types::{default_text, describe_type, mysql_type, sql_type};
use super::all_tables;
use super::key::mysql_key;
use crate::cluster::View;

/// Digits behind a second's point that MySQL knows.
const MYSQL_DECIMALS_MAX: i64 = 6;

const COLUMNS: Columns = &[
    ("table_catalog", Text),
    ("table_schema", Text),
    ("table_name", Text),
    ("column_name", Text),
    ("ordinal_position", Int),
    ("character_maximum_length", Int),
    ("character_octet_length", Int),
    ("numeric_precision", Int),
    ("numeric_scale", Int),
    ("datetime_precision", Int),
    ("character_set_name", Text),
    ("collation_name", Text),
    ("column_key", Text),
    ("extra", Text),
    ("privileges", Text),
    ("generation_expression", Text),
    ("greptime_data_type", Text),
    ("data_type", Text),
    ("semantic_type", Text),
    ("column_default", Text),
    ("is_nullable", Text),
    ("column_type", Text),
    ("column_comment", Text),
    ("srs_id", Int),
];

pub(super) fn columns(view: &View, viewer: &Viewer) -> Sheet {
    let mut sheet = Sheet::new(COLUMNS);
    for (database, table) in all_tables(view) {
        for (at, column) in table.info.schema.columns.iter().enumerate() {
            let mut row: Vec<Cell> = vec![CATALOG.into(), database.into(), table.info.name.as_str().into()];
            row.extend([column.name.as_str().into(), (at as i64 + 1).into()]);
            row.extend(sizes(column.logical, viewer.is_mysql));
            row.extend(if viewer.is_mysql { mysql_meaning(column, &table.info) } else { meaning(column) });
            sheet.push(row);
        }
    }
    sheet
}

/// From `character_maximum_length` to `collation_name`.
fn sizes(logical: LogicalType, is_mysql: bool) -> [Cell; 7] {
    let mut cells = [const { Cell::Null }; 7];
    let digits = |cells: &mut [Cell; 7], digits: i64| {
        cells[2] = digits.into();
        cells[3] = 0.into();
    };
    match logical {
        LogicalType::String => {
            cells[0] = i64::from(i32::MAX).into();
            cells[1] = i64::from(i32::MAX).into();
            cells[5] = if is_mysql { "utf8mb4" } else { "utf8" }.into();
            cells[6] = if is_mysql { "utf8mb4_bin" } else { "utf8_bin" }.into();
        }
        LogicalType::Binary => {
            cells[0] = i64::from(i32::MAX).into();
            cells[1] = i64::from(i32::MAX).into();
        }
        LogicalType::Boolean if is_mysql => digits(&mut cells, 3),
        LogicalType::Int8 | LogicalType::UInt8 => digits(&mut cells, 3),
        LogicalType::Int16 | LogicalType::UInt16 => digits(&mut cells, 5),
        LogicalType::Int32 | LogicalType::UInt32 => digits(&mut cells, 10),
        LogicalType::Int64 => digits(&mut cells, 19),
        LogicalType::UInt64 => digits(&mut cells, 20),
        LogicalType::Float32 => cells[2] = 12.into(),
        LogicalType::Float64 => cells[2] = 22.into(),
        LogicalType::Timestamp(unit) => {
            let decimals = i64::from(unit.per_second().ilog10());
            cells[4] = if is_mysql { decimals.min(MYSQL_DECIMALS_MAX) } else { decimals }.into();
        }
        LogicalType::Boolean | LogicalType::Json | LogicalType::Date => {}
    }
    cells
}

fn default_of(column: &Column) -> Cell {
    let default = column.default.as_ref().map(|default| default_text(default, column.logical));
    default.map_or(Cell::Null, Cell::from)
}

fn role(column: &Column) -> &'static str {
    match column.role {
        ColumnRole::Tag => "TAG",
        ColumnRole::TimeIndex => "TIMESTAMP",
        ColumnRole::Field => "FIELD",
    }
}

/// From `column_key` on, in GreptimeDB's words.
fn meaning(column: &Column) -> Vec<Cell> {
    let key = match column.role {
        ColumnRole::Tag => "PRI",
        ColumnRole::TimeIndex => "TIME INDEX",
        ColumnRole::Field => "",
    };
    vec![
        key.into(),
        "".into(),
        "select,insert".into(),
        "".into(),
        describe_type(column.logical).into(),
        sql_type(column.logical).to_lowercase().into(),
        role(column).into(),
        default_of(column),
        if column.nullable { "Yes" } else { "No" }.into(),
        sql_type(column.logical).to_lowercase().into(),
        column.comment.clone().map_or(Cell::Null, Cell::from),
        Cell::Null,
    ]
}

/// From `column_key` on, in MySQL's words.
fn mysql_meaning(column: &Column, info: &TableInfo) -> Vec<Cell> {
    let kind = mysql_type(column.logical);
    // Whatever stands behind the first word is MySQL's COLUMN_TYPE, not its DATA_TYPE.
    let word = kind.split([' ', '(']).next().unwrap_or(kind);
    let is_clock = matches!(column.default, Some(ColumnDefault::CurrentTimestamp));
    vec![
        mysql_key(column, info).into(),
        if is_clock { "DEFAULT_GENERATED" } else { "" }.into(),
        "select,insert".into(),
        "".into(),
        describe_type(column.logical).into(),
        word.into(),
        role(column).into(),
        default_of(column),
        if column.nullable { "YES" } else { "NO" }.into(),
        kind.into(),
        column.comment.clone().unwrap_or_default().into(),
        Cell::Null,
    ]
}
