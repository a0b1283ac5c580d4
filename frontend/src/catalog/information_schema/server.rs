//! What the server is: its engine, its character set, and what a user may do, in MySQL's tables.

use varve_query::context::CATALOG;

use super::super::system::Kind::{Int, Text};
use super::super::system::{Columns, Sheet, Viewer};
use crate::cluster::View;

const ENGINES: Columns = &[
    ("engine", Text),
    ("support", Text),
    ("comment", Text),
    ("transactions", Text),
    ("xa", Text),
    ("savepoints", Text),
];

pub(super) fn engines(_: &View, _: &Viewer) -> Sheet {
    let mut sheet = Sheet::new(ENGINES);
    let row = ["mito", "DEFAULT", "Time series on object storage", "NO", "NO", "NO"];
    sheet.push(row.map(Into::into).to_vec());
    sheet
}

const CHARACTER_SETS: Columns =
    &[("character_set_name", Text), ("default_collate_name", Text), ("description", Text), ("maxlen", Int)];

pub(super) fn character_sets(_: &View, _: &Viewer) -> Sheet {
    let mut sheet = Sheet::new(CHARACTER_SETS);
    sheet.push(vec!["utf8mb4".into(), "utf8mb4_bin".into(), "UTF-8 Unicode".into(), 4.into()]);
    sheet
}

const COLLATIONS: Columns = &[
    ("collation_name", Text),
    ("character_set_name", Text),
    ("id", Int),
    ("is_default", Text),
    ("is_compiled", Text),
    ("sortlen", Int),
    ("pad_attribute", Text),
];

pub(super) fn collations(_: &View, _: &Viewer) -> Sheet {
    let mut sheet = Sheet::new(COLLATIONS);
    sheet.push(vec![
        "utf8mb4_bin".into(),
        "utf8mb4".into(),
        46.into(),
        "Yes".into(),
        "Yes".into(),
        1.into(),
        // Trailing spaces count.
        "NO PAD".into(),
    ]);
    sheet
}

const APPLICABILITY: Columns = &[("collation_name", Text), ("character_set_name", Text)];

pub(super) fn applicability(_: &View, _: &Viewer) -> Sheet {
    let mut sheet = Sheet::new(APPLICABILITY);
    sheet.push(vec!["utf8mb4_bin".into(), "utf8mb4".into()]);
    sheet
}

/// What everybody may do while nobody is authenticated, by MySQL's names.
pub(crate) const PRIVILEGES: &[&str] =
    &["SELECT", "INSERT", "DELETE", "CREATE", "DROP", "ALTER", "PROCESS", "SHOW DATABASES"];

const USER_PRIVILEGES: Columns =
    &[("grantee", Text), ("table_catalog", Text), ("privilege_type", Text), ("is_grantable", Text)];

pub(super) fn user_privileges(_: &View, viewer: &Viewer) -> Sheet {
    let mut sheet = Sheet::new(USER_PRIVILEGES);
    for privilege in PRIVILEGES {
        sheet.push(vec![viewer.account('\'').into(), CATALOG.into(), (*privilege).into(), "NO".into()]);
    }
    sheet
}
