//! The server itself: databases, roles, types, settings.

use super::super::information_schema::all_tables;
use super::super::system::Kind::{Bool, Int, Text, Texts};
use super::super::system::{Cell, Columns, Sheet, Viewer};
use super::oid;
use crate::cluster::View;

const ROLE_NAME: &str = "varve";

const ACCESS_METHODS: Columns = &[("oid", Int), ("amname", Text), ("amhandler", Text), ("amtype", Text)];

pub(super) fn access_methods(_: &View, _: &Viewer) -> Sheet {
    let mut sheet = Sheet::new(ACCESS_METHODS);
    sheet.push(vec![2.into(), "heap".into(), "heap_tableam_handler".into(), "t".into()]);
    sheet
}

const DATABASES: Columns = &[
    ("oid", Int),
    ("datname", Text),
    ("datdba", Int),
    ("encoding", Int),
    ("datlocprovider", Text),
    ("datistemplate", Bool),
    ("datallowconn", Bool),
    ("datconnlimit", Int),
    ("dattablespace", Int),
    ("datcollate", Text),
    ("datctype", Text),
    ("daticulocale", Text),
    ("datcollversion", Text),
    ("datacl", Texts),
];

/// A client that connects to a database of varve sees that name.
pub(super) fn databases(view: &View, _: &Viewer) -> Sheet {
    let mut sheet = Sheet::new(DATABASES);
    for (name, database) in &view.databases {
        sheet.push(vec![
            (oid::DATABASE + oid::namespace(database.info.id)).into(),
            name.as_str().into(),
            oid::ROLE.into(),
            6.into(),
            "c".into(),
            false.into(),
            true.into(),
            (-1).into(),
            0.into(),
            "C.UTF-8".into(),
            "C.UTF-8".into(),
            Cell::Null,
            Cell::Null,
            Cell::Null,
        ]);
    }
    sheet
}

const ROLES: Columns = &[
    ("oid", Int),
    ("rolname", Text),
    ("rolsuper", Bool),
    ("rolinherit", Bool),
    ("rolcreaterole", Bool),
    ("rolcreatedb", Bool),
    ("rolcanlogin", Bool),
    ("rolreplication", Bool),
    ("rolconnlimit", Int),
    ("rolvaliduntil", Text),
    ("rolbypassrls", Bool),
];

pub(super) fn roles(_: &View, _: &Viewer) -> Sheet {
    let mut sheet = Sheet::new(ROLES);
    let yes = || Cell::from(true);
    sheet.push(vec![
        oid::ROLE.into(),
        ROLE_NAME.into(),
        yes(),
        yes(),
        yes(),
        yes(),
        yes(),
        false.into(),
        (-1).into(),
        Cell::Null,
        yes(),
    ]);
    sheet
}

const USERS: Columns =
    &[("usename", Text), ("usesysid", Int), ("usecreatedb", Bool), ("usesuper", Bool), ("valuntil", Text)];

pub(super) fn users(_: &View, _: &Viewer) -> Sheet {
    let mut sheet = Sheet::new(USERS);
    sheet.push(vec![ROLE_NAME.into(), oid::ROLE.into(), true.into(), true.into(), Cell::Null]);
    sheet
}

const SETTINGS: Columns = &[("name", Text), ("setting", Text), ("unit", Text), ("category", Text)];

pub(super) fn settings(_: &View, _: &Viewer) -> Sheet {
    let mut sheet = Sheet::new(SETTINGS);
    for (name, value) in [
        ("max_index_keys", "32"),
        ("server_encoding", "UTF8"),
        ("standard_conforming_strings", "on"),
        ("TimeZone", "UTC"),
    ] {
        sheet.push(vec![name.into(), value.into(), Cell::Null, "Preset Options".into()]);
    }
    sheet
}

const TABLES: Columns = &[
    ("schemaname", Text),
    ("tablename", Text),
    ("tableowner", Text),
    ("tablespace", Text),
    ("hasindexes", Bool),
    ("hasrules", Bool),
    ("hastriggers", Bool),
    ("rowsecurity", Bool),
];

pub(super) fn tables(view: &View, _: &Viewer) -> Sheet {
    let mut sheet = Sheet::new(TABLES);
    for (database, table) in all_tables(view) {
        let no = || Cell::from(false);
        let name = table.info.name.as_str();
        sheet.push(vec![database.into(), name.into(), ROLE_NAME.into(), Cell::Null, no(), no(), no(), no()]);
    }
    sheet
}

const TYPES: Columns = &[
    ("oid", Int),
    ("typname", Text),
    ("typnamespace", Int),
    ("typowner", Int),
    ("typlen", Int),
    ("typbyval", Bool),
    ("typtype", Text),
    ("typcategory", Text),
    ("typispreferred", Bool),
    ("typisdefined", Bool),
    ("typdelim", Text),
    ("typrelid", Int),
    ("typelem", Int),
    ("typarray", Int),
    ("typinput", Text),
    ("typoutput", Text),
    ("typnotnull", Bool),
    ("typbasetype", Int),
    ("typtypmod", Int),
    ("typndims", Int),
    ("typcollation", Int),
    ("typdefault", Text),
];

pub(super) fn types(_: &View, _: &Viewer) -> Sheet {
    let mut sheet = Sheet::new(TYPES);
    for (number, name, size, category, array, _) in oid::TYPES {
        sheet.push(kind(number, name, size, category, 0, array));
        sheet.push(kind(array, &format!("_{name}"), -1, "A", number, 0));
    }
    sheet
}

fn kind(number: i64, name: &str, size: i64, category: &str, element: i64, array: i64) -> Vec<Cell> {
    vec![
        number.into(),
        name.into(),
        oid::PG_CATALOG.into(),
        oid::ROLE.into(),
        size.into(),
        (0..=8).contains(&size).into(),
        "b".into(),
        category.into(),
        false.into(),
        true.into(),
        ",".into(),
        0.into(),
        element.into(),
        array.into(),
        if element == 0 { format!("{name}in") } else { "array_in".to_owned() }.into(),
        if element == 0 { format!("{name}out") } else { "array_out".to_owned() }.into(),
        false.into(),
        0.into(),
        (-1).into(),
        0.into(),
        0.into(),
        Cell::Null,
    ]
}
