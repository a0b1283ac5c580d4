//! Keys of tables: `key_column_usage`, `table_constraints` and MySQL's `statistics`.
//!
//! To GreptimeDB a primary key is the tags, and the time index stands beside it. To
//! MySQL's tools a primary key tells rows apart: there it is the tags and the time
//! index, and a table that keeps every row has none.

use varve_model::schema::{Column, ColumnRole};
use varve_model::table::{MergeMode, TableInfo};
use varve_query::context::CATALOG;

use super::super::system::Kind::{Int, Text};
use super::super::system::{Cell, Columns, Sheet, Viewer};
use super::all_tables;
use crate::cluster::View;

/// The name of a primary key.
const PRIMARY: &str = "PRIMARY";

/// A column of an index, as MySQL's tools list them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyPart<'a> {
    /// The index.
    pub(crate) index: &'static str,
    /// Whether no two rows agree in all columns of the index.
    pub(crate) is_unique: bool,
    /// From 1.
    pub(crate) sequence: usize,
    pub(crate) column: &'a Column,
}

/// The indexes of a table, as MySQL's tools list them: what rows are sorted by, and their time.
pub(crate) fn key_parts(info: &TableInfo) -> impl Iterator<Item = KeyPart<'_>> {
    let is_unique = tells_apart(info);
    let index = if is_unique { PRIMARY } else { "SERIES" };
    let time = info.schema.time_index();
    let sorted = info.schema.key_columns().chain([time]).enumerate();
    let sorted = sorted.map(move |(at, column)| KeyPart { index, is_unique, sequence: at + 1, column });
    sorted.chain([KeyPart { index: "TIME INDEX", is_unique: false, sequence: 1, column: time }])
}

/// Whether a row replaces another of the same tags and time.
fn tells_apart(info: &TableInfo) -> bool {
    info.options.merge_mode != MergeMode::Append
}

/// MySQL's word for a column's part in keys.
pub(crate) fn mysql_key(column: &Column, info: &TableInfo) -> &'static str {
    match column.role {
        ColumnRole::Field => "",
        ColumnRole::Tag | ColumnRole::TimeIndex if tells_apart(info) => "PRI",
        ColumnRole::Tag | ColumnRole::TimeIndex => "MUL",
    }
}

const KEY_COLUMN_USAGE: Columns = &[
    ("constraint_catalog", Text),
    ("constraint_schema", Text),
    ("constraint_name", Text),
    ("table_catalog", Text),
    ("table_schema", Text),
    ("table_name", Text),
    ("column_name", Text),
    ("ordinal_position", Int),
    ("position_in_unique_constraint", Int),
    ("referenced_table_schema", Text),
    ("referenced_table_name", Text),
    ("referenced_column_name", Text),
];

pub(super) fn key_column_usage(view: &View, viewer: &Viewer) -> Sheet {
    let mut sheet = Sheet::new(KEY_COLUMN_USAGE);
    for (database, table) in all_tables(view) {
        for (name, column, at) in constrained(&table.info, viewer.is_mysql) {
            let mut row = vec![
                CATALOG.into(),
                database.into(),
                name.into(),
                CATALOG.into(),
                database.into(),
                table.info.name.as_str().into(),
                column.name.as_str().into(),
                (at as i64).into(),
            ];
            row.resize(KEY_COLUMN_USAGE.len(), Cell::Null);
            sheet.push(row);
        }
    }
    sheet
}

/// Constraint, column and its place in it, from 1.
fn constrained(info: &TableInfo, is_mysql: bool) -> Vec<(&'static str, &Column, usize)> {
    if is_mysql {
        let primary = key_parts(info).filter(|part| part.is_unique);
        return primary.map(|part| (part.index, part.column, part.sequence)).collect();
    }
    let tags = info.schema.key_columns().enumerate().map(|(at, column)| (PRIMARY, column, at + 1));
    tags.chain([("TIME INDEX", info.schema.time_index(), 1)]).collect()
}

const TABLE_CONSTRAINTS: Columns = &[
    ("constraint_catalog", Text),
    ("constraint_schema", Text),
    ("constraint_name", Text),
    ("table_schema", Text),
    ("table_name", Text),
    ("constraint_type", Text),
    ("enforced", Text),
];

pub(super) fn table_constraints(view: &View, viewer: &Viewer) -> Sheet {
    let mut sheet = Sheet::new(TABLE_CONSTRAINTS);
    for (database, table) in all_tables(view) {
        for (name, _, _) in constrained(&table.info, viewer.is_mysql).into_iter().filter(|(_, _, at)| *at == 1) {
            let kind = if name == PRIMARY { "PRIMARY KEY" } else { name };
            sheet.push(vec![
                CATALOG.into(),
                database.into(),
                name.into(),
                database.into(),
                table.info.name.as_str().into(),
                kind.into(),
                "YES".into(),
            ]);
        }
    }
    sheet
}

const STATISTICS: Columns = &[
    ("table_catalog", Text),
    ("table_schema", Text),
    ("table_name", Text),
    ("non_unique", Int),
    ("index_schema", Text),
    ("index_name", Text),
    ("seq_in_index", Int),
    ("column_name", Text),
    ("collation", Text),
    ("cardinality", Int),
    ("sub_part", Int),
    ("packed", Text),
    ("nullable", Text),
    ("index_type", Text),
    ("comment", Text),
    ("index_comment", Text),
    ("is_visible", Text),
    ("expression", Text),
];

pub(super) fn statistics(view: &View, _: &Viewer) -> Sheet {
    let mut sheet = Sheet::new(STATISTICS);
    for (database, table) in all_tables(view) {
        for part in key_parts(&table.info) {
            sheet.push(vec![
                CATALOG.into(),
                database.into(),
                table.info.name.as_str().into(),
                i64::from(!part.is_unique).into(),
                database.into(),
                part.index.into(),
                (part.sequence as i64).into(),
                part.column.name.as_str().into(),
                "A".into(),
                Cell::Null,
                Cell::Null,
                Cell::Null,
                if part.column.nullable { "YES" } else { "" }.into(),
                "BTREE".into(),
                "".into(),
                "".into(),
                "YES".into(),
                Cell::Null,
            ]);
        }
    }
    sheet
}
