//! information_schema: databases, tables, columns and regions in GreptimeDB's columns, and what MySQL's tools ask for.
//!
//! MySQL's tables have MySQL's columns in MySQL's order; those that GreptimeDB has,
//! too, keep its order. Sizes and counts of rows are NULL: nobody counts them.

use chrono::DateTime;
use varve_query::context::CATALOG;

use super::system::Kind::{Int, Text};
use super::system::{Cell, Columns, Live, LiveMaker, Maker, Sheet, Viewer};
use crate::cluster::{Table, View};

mod column;
mod empty;
mod key;
mod process;
mod region;
mod server;

pub(crate) use key::{key_parts, mysql_key};
pub(crate) use server::PRIVILEGES;

/// Tables over what others must be asked for.
pub(super) const LIVE_TABLES: &[LiveMaker] = &[
    ("region_statistics", Live::Regions(region::region_statistics)),
    ("process_list", Live::Processes(process::list)),
    ("processlist", Live::Processes(process::mysql_list)),
];

/// All tables here.
pub(super) const TABLES: &[Maker] = &[
    ("schemata", schemata),
    ("tables", tables),
    ("columns", column::columns),
    ("key_column_usage", key::key_column_usage),
    ("table_constraints", key::table_constraints),
    ("statistics", key::statistics),
    ("partitions", region::partitions),
    ("region_peers", region::peers),
    ("regions", region::regions),
    ("engines", server::engines),
    ("character_sets", server::character_sets),
    ("collations", server::collations),
    ("collation_character_set_applicability", server::applicability),
    ("user_privileges", server::user_privileges),
    ("check_constraints", empty::check_constraints),
    ("column_privileges", empty::column_privileges),
    ("events", empty::events),
    ("global_status", empty::status),
    ("parameters", empty::parameters),
    ("plugins", empty::plugins),
    ("procedure_info", empty::procedures),
    ("referential_constraints", empty::referential_constraints),
    ("routines", empty::routines),
    ("schema_privileges", empty::schema_privileges),
    ("session_status", empty::status),
    ("table_privileges", empty::table_privileges),
    ("triggers", empty::triggers),
    ("views", empty::views),
];

const SCHEMATA: Columns = &[
    ("catalog_name", Text),
    ("schema_name", Text),
    ("default_character_set_name", Text),
    ("default_collation_name", Text),
    ("sql_path", Text),
    ("options", Text),
];

fn schemata(view: &View, viewer: &Viewer) -> Sheet {
    let (characters, collation) = if viewer.is_mysql { ("utf8mb4", "utf8mb4_bin") } else { ("utf8", "utf8_bin") };
    let mut sheet = Sheet::new(SCHEMATA);
    let users = view.databases.iter().map(|(name, database)| (name.as_str(), database.info.ttl));
    let system = varve_model::name::SYSTEM_DATABASES.iter().map(|name| (*name, None));
    let mut all = users.chain(system).collect::<Vec<_>>();
    all.sort_unstable_by_key(|(name, _)| *name);
    for (name, ttl) in all {
        let options = ttl.map_or(String::new(), |ttl| format!("ttl='{}'", super::types::ttl_text(ttl)));
        sheet.push(vec![CATALOG.into(), name.into(), characters.into(), collation.into(), Cell::Null, options.into()]);
    }
    sheet
}

const TABLES_COLUMNS: Columns = &[
    ("table_catalog", Text),
    ("table_schema", Text),
    ("table_name", Text),
    ("table_type", Text),
    ("table_id", Int),
    ("data_length", Int),
    ("max_data_length", Int),
    ("index_length", Int),
    ("max_index_length", Int),
    ("avg_row_length", Int),
    ("engine", Text),
    ("version", Int),
    ("row_format", Text),
    ("table_rows", Int),
    ("data_free", Int),
    ("auto_increment", Int),
    ("create_time", Text),
    ("update_time", Text),
    ("check_time", Text),
    ("table_collation", Text),
    ("checksum", Int),
    ("create_options", Text),
    ("table_comment", Text),
    ("temporary", Text),
];

/// Cells that nothing is known for.
fn unknown<const N: usize>() -> [Cell; N] {
    [const { Cell::Null }; N]
}

fn tables(view: &View, viewer: &Viewer) -> Sheet {
    let mut sheet = Sheet::new(TABLES_COLUMNS);
    let collation = if viewer.is_mysql { "utf8mb4_bin" } else { "utf8_bin" };
    for (database, table) in all_tables(view) {
        let info = &table.info;
        let created = DateTime::from_timestamp_millis(info.created_ms);
        let created = created.map_or(Cell::Null, |at| at.format("%Y-%m-%d %H:%M:%S").to_string().into());
        let comment = info.options.comment.clone();
        let mut row: Vec<Cell> = vec![CATALOG.into(), database.into(), info.name.as_str().into()];
        row.extend(["BASE TABLE".into(), i64::from(info.id.0).into()]);
        row.extend(unknown::<5>());
        row.push("mito".into());
        row.extend(unknown::<5>());
        row.push(created);
        row.extend(unknown::<2>());
        row.extend([collation.into(), Cell::Null, "".into()]);
        // MySQL's comment is never NULL.
        row.push(
            if viewer.is_mysql { Some(comment.unwrap_or_default()) } else { comment }.map_or(Cell::Null, Cell::from),
        );
        row.push("N".into());
        sheet.push(row);
    }
    let kind = if viewer.is_mysql { "SYSTEM VIEW" } else { "LOCAL TEMPORARY" };
    for database in varve_model::name::SYSTEM_DATABASES {
        for name in super::system_tables(database).unwrap_or_default() {
            let mut row = vec![CATALOG.into(), database.into(), name.into(), kind.into()];
            row.resize_with(TABLES_COLUMNS.len(), || Cell::Null);
            sheet.push(row);
        }
    }
    sheet
}

/// All tables with rows, by database and name.
pub(super) fn all_tables(view: &View) -> impl Iterator<Item = (&str, &Table)> {
    view.databases
        .iter()
        .flat_map(|(name, database)| database.tables.values().map(move |table| (name.as_str(), table.as_ref())))
}
