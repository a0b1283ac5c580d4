//! pg_class, pg_attribute and what belongs to them: tables and columns as relations.

use varve_model::name::SYSTEM_DATABASES;
use varve_model::schema::{Column, LogicalType};

use super::super::information_schema::all_tables;
use super::super::system::Kind::{Bool, Int, Text, Texts};
use super::super::system::{Cell, Columns, Sheet, Viewer, system_tables};
use super::super::types::default_text;
use super::oid;
use crate::cluster::View;

const NAMESPACES: Columns = &[("oid", Int), ("nspname", Text), ("nspowner", Int), ("nspacl", Texts)];

pub(super) fn namespaces(view: &View, _: &Viewer) -> Sheet {
    let mut sheet = Sheet::new(NAMESPACES);
    for (name, database) in &view.databases {
        let number = oid::namespace(database.info.id);
        sheet.push(vec![number.into(), name.as_str().into(), oid::ROLE.into(), Cell::Null]);
    }
    for name in SYSTEM_DATABASES {
        sheet.push(vec![oid::system_namespace(name).into(), name.into(), oid::ROLE.into(), Cell::Null]);
    }
    sheet
}

const CLASSES: Columns = &[
    ("oid", Int),
    ("relname", Text),
    ("relnamespace", Int),
    ("reltype", Int),
    ("reloftype", Int),
    ("relowner", Int),
    ("relam", Int),
    ("relfilenode", Int),
    ("reltablespace", Int),
    ("relpages", Int),
    ("reltuples", Int),
    ("reltoastrelid", Int),
    ("relhasindex", Bool),
    ("relisshared", Bool),
    ("relpersistence", Text),
    ("relkind", Text),
    ("relnatts", Int),
    ("relchecks", Int),
    ("relhasrules", Bool),
    ("relhastriggers", Bool),
    ("relhassubclass", Bool),
    ("relrowsecurity", Bool),
    ("relforcerowsecurity", Bool),
    ("relispopulated", Bool),
    ("relreplident", Text),
    ("relispartition", Bool),
    ("relacl", Texts),
    ("reloptions", Texts),
    ("relpartbound", Text),
];

pub(super) fn classes(view: &View, _: &Viewer) -> Sheet {
    let mut sheet = Sheet::new(CLASSES);
    for (_, table) in all_tables(view) {
        let namespace = oid::namespace(table.database.id);
        let columns = table.info.schema.columns.len();
        sheet.push(class(oid::table(table.info.id), &table.info.name, namespace, "r", columns));
    }
    for database in SYSTEM_DATABASES {
        let kind = if database == "pg_catalog" { "r" } else { "v" };
        for (at, name) in system_tables(database).unwrap_or_default().iter().enumerate() {
            sheet.push(class(oid::system_table(database, at), name, oid::system_namespace(database), kind, 0));
        }
    }
    sheet
}

fn class(number: i64, name: &str, namespace: i64, kind: &str, columns: usize) -> Vec<Cell> {
    vec![
        number.into(),
        name.into(),
        namespace.into(),
        0.into(),
        0.into(),
        oid::ROLE.into(),
        2.into(),
        number.into(),
        0.into(),
        0.into(),
        // PostgreSQL's "never analysed".
        (-1).into(),
        0.into(),
        false.into(),
        false.into(),
        "p".into(),
        kind.into(),
        (columns as i64).into(),
        0.into(),
        false.into(),
        false.into(),
        false.into(),
        false.into(),
        false.into(),
        true.into(),
        "d".into(),
        false.into(),
        Cell::Null,
        Cell::Null,
        Cell::Null,
    ]
}

const ATTRIBUTES: Columns = &[
    ("attrelid", Int),
    ("attname", Text),
    ("atttypid", Int),
    ("attstattarget", Int),
    ("attlen", Int),
    ("attnum", Int),
    ("attndims", Int),
    ("atttypmod", Int),
    ("attnotnull", Bool),
    ("atthasdef", Bool),
    ("atthasmissing", Bool),
    ("attidentity", Text),
    ("attgenerated", Text),
    ("attisdropped", Bool),
    ("attislocal", Bool),
    ("attinhcount", Int),
    ("attcollation", Int),
    ("attstorage", Text),
    ("attcompression", Text),
    ("attacl", Texts),
];

pub(super) fn attributes(view: &View, _: &Viewer) -> Sheet {
    let mut sheet = Sheet::new(ATTRIBUTES);
    for (_, table) in all_tables(view) {
        for (at, column) in table.info.schema.columns.iter().enumerate() {
            let kind = oid::of_logical(column.logical);
            let size = oid::TYPES.iter().find(|known| known.0 == kind).map_or(-1, |known| known.2);
            sheet.push(vec![
                oid::table(table.info.id).into(),
                column.name.as_str().into(),
                kind.into(),
                (-1).into(),
                size.into(),
                (at as i64 + 1).into(),
                0.into(),
                modifier(column).into(),
                (!column.nullable).into(),
                column.default.is_some().into(),
                false.into(),
                "".into(),
                "".into(),
                false.into(),
                true.into(),
                0.into(),
                0.into(),
                if size < 0 { "x" } else { "p" }.into(),
                "".into(),
                Cell::Null,
            ]);
        }
    }
    sheet
}

/// The precision of a timestamp; -1 for types without.
fn modifier(column: &Column) -> i64 {
    match column.logical {
        LogicalType::Timestamp(unit) => i64::from(unit.per_second().ilog10()),
        _ => -1,
    }
}

const DEFAULTS: Columns = &[("oid", Int), ("adrelid", Int), ("adnum", Int), ("adbin", Text)];

/// `adbin` is readable text here; `pg_get_expr` gives it back as it is.
pub(super) fn defaults(view: &View, _: &Viewer) -> Sheet {
    let mut sheet = Sheet::new(DEFAULTS);
    for (_, table) in all_tables(view) {
        for (at, column) in table.info.schema.columns.iter().enumerate() {
            if let Some(default) = &column.default {
                let text = default_text(default, column.logical);
                let number = oid::table(table.info.id);
                sheet.push(vec![number.into(), number.into(), (at as i64 + 1).into(), text.into()]);
            }
        }
    }
    sheet
}

const DESCRIPTIONS: Columns = &[("objoid", Int), ("classoid", Int), ("objsubid", Int), ("description", Text)];

/// The number of pg_class in itself.
const CLASS_OF_CLASSES: i64 = 1259;

pub(super) fn descriptions(view: &View, _: &Viewer) -> Sheet {
    let mut sheet = Sheet::new(DESCRIPTIONS);
    for (number, sub, text) in comments(view) {
        sheet.push(vec![number.into(), CLASS_OF_CLASSES.into(), sub.into(), text.into()]);
    }
    sheet
}

/// Users' comments: relation, column number or 0, text.
pub(super) fn comments(view: &View) -> Vec<(i64, i64, String)> {
    let mut comments = Vec::new();
    for (_, table) in all_tables(view) {
        let number = oid::table(table.info.id);
        comments.extend(table.info.options.comment.iter().map(|text| (number, 0, text.clone())));
        let columns = table.info.schema.columns.iter().enumerate();
        comments.extend(columns.filter_map(|(at, column)| Some((number, at as i64 + 1, column.comment.clone()?))));
    }
    comments
}
