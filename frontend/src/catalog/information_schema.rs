//! information_schema: databases, tables, columns and regions, in GreptimeDB's columns.

use chrono::DateTime;
use varve_model::region::RouteState;
use varve_model::schema::{Column, ColumnRole, LogicalType};
use varve_proto::metasrv::RegionReport;
use varve_query::context::CATALOG;

use super::system::Kind::{Int, Text};
use super::system::{Cell, Columns, Live, LiveMaker, Maker, Sheet};
use super::types::{default_text, describe_type, sql_type};
use crate::cluster::{Table, View};

mod process;

/// Tables over what others must be asked for.
pub(super) const LIVE_TABLES: &[LiveMaker] =
    &[("region_statistics", Live::Regions(statistics)), ("process_list", Live::Processes(process::list))];

/// All tables here.
pub(super) const TABLES: &[Maker] = &[
    ("schemata", schemata),
    ("tables", tables),
    ("columns", columns),
    ("key_column_usage", key_column_usage),
    ("region_peers", peers),
    ("regions", regions),
    ("views", views),
];

const SCHEMATA: Columns = &[
    ("catalog_name", Text),
    ("schema_name", Text),
    ("default_character_set_name", Text),
    ("default_collation_name", Text),
    ("sql_path", Text),
    ("options", Text),
];

fn schemata(view: &View, _: &str) -> Sheet {
    let mut sheet = Sheet::new(SCHEMATA);
    let users = view.databases.iter().map(|(name, database)| (name.as_str(), database.info.ttl));
    let system = varve_model::name::SYSTEM_DATABASES.iter().map(|name| (*name, None));
    let mut all = users.chain(system).collect::<Vec<_>>();
    all.sort_unstable_by_key(|(name, _)| *name);
    for (name, ttl) in all {
        let options = ttl.map_or(String::new(), |ttl| format!("ttl='{}'", super::types::ttl_text(ttl)));
        sheet.push(vec![CATALOG.into(), name.into(), "utf8".into(), "utf8_bin".into(), Cell::Null, options.into()]);
    }
    sheet
}

const TABLES_COLUMNS: Columns = &[
    ("table_catalog", Text),
    ("table_schema", Text),
    ("table_name", Text),
    ("table_type", Text),
    ("table_id", Int),
    ("engine", Text),
    ("create_time", Text),
    ("create_options", Text),
    ("table_comment", Text),
    ("temporary", Text),
];

fn tables(view: &View, _: &str) -> Sheet {
    let mut sheet = Sheet::new(TABLES_COLUMNS);
    for (database, table) in all_tables(view) {
        let info = &table.info;
        let created = DateTime::from_timestamp_millis(info.created_ms);
        let created = created.map_or(Cell::Null, |at| at.format("%Y-%m-%d %H:%M:%S").to_string().into());
        sheet.push(vec![
            CATALOG.into(),
            database.into(),
            info.name.as_str().into(),
            "BASE TABLE".into(),
            i64::from(info.id.0).into(),
            "mito".into(),
            created,
            "".into(),
            info.options.comment.clone().map_or(Cell::Null, Cell::from),
            "N".into(),
        ]);
    }
    for database in varve_model::name::SYSTEM_DATABASES {
        for name in super::system_tables(database).unwrap_or_default() {
            let mut row = vec![CATALOG.into(), database.into(), name.into(), "LOCAL TEMPORARY".into()];
            row.resize_with(TABLES_COLUMNS.len(), || Cell::Null);
            sheet.push(row);
        }
    }
    sheet
}

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

fn columns(view: &View, _: &str) -> Sheet {
    let mut sheet = Sheet::new(COLUMNS);
    for (database, table) in all_tables(view) {
        for (at, column) in table.info.schema.columns.iter().enumerate() {
            let mut row: Vec<Cell> = vec![CATALOG.into(), database.into(), table.info.name.as_str().into()];
            row.extend([column.name.as_str().into(), (at as i64 + 1).into()]);
            row.extend(sizes(column.logical));
            row.extend(meaning(column));
            sheet.push(row);
        }
    }
    sheet
}

/// From `character_maximum_length` to `collation_name`.
fn sizes(logical: LogicalType) -> [Cell; 7] {
    let mut cells = [const { Cell::Null }; 7];
    let digits = |cells: &mut [Cell; 7], digits: i64| {
        cells[2] = digits.into();
        cells[3] = 0.into();
    };
    match logical {
        LogicalType::String => {
            cells[0] = i64::from(i32::MAX).into();
            cells[1] = i64::from(i32::MAX).into();
            cells[5] = "utf8".into();
            cells[6] = "utf8_bin".into();
        }
        LogicalType::Binary => {
            cells[0] = i64::from(i32::MAX).into();
            cells[1] = i64::from(i32::MAX).into();
        }
        LogicalType::Int8 | LogicalType::UInt8 => digits(&mut cells, 3),
        LogicalType::Int16 | LogicalType::UInt16 => digits(&mut cells, 5),
        LogicalType::Int32 | LogicalType::UInt32 => digits(&mut cells, 10),
        LogicalType::Int64 => digits(&mut cells, 19),
        LogicalType::UInt64 => digits(&mut cells, 20),
        LogicalType::Float32 => cells[2] = 12.into(),
        LogicalType::Float64 => cells[2] = 22.into(),
        LogicalType::Timestamp(unit) => cells[4] = i64::from(unit.per_second().ilog10()).into(),
        LogicalType::Boolean | LogicalType::Json | LogicalType::Date => {}
    }
    cells
}

/// From `column_key` on.
fn meaning(column: &Column) -> Vec<Cell> {
    let (key, role) = match column.role {
        ColumnRole::Tag => ("PRI", "TAG"),
        ColumnRole::TimeIndex => ("TIME INDEX", "TIMESTAMP"),
        ColumnRole::Field => ("", "FIELD"),
    };
    let default = column.default.as_ref().map(|default| default_text(default, column.logical));
    vec![
        key.into(),
        "".into(),
        "select,insert".into(),
        "".into(),
        describe_type(column.logical).into(),
        sql_type(column.logical).to_lowercase().into(),
        role.into(),
        default.map_or(Cell::Null, Cell::from),
        if column.nullable { "Yes" } else { "No" }.into(),
        sql_type(column.logical).to_lowercase().into(),
        column.comment.clone().map_or(Cell::Null, Cell::from),
        Cell::Null,
    ]
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
];

fn key_column_usage(view: &View, _: &str) -> Sheet {
    let mut sheet = Sheet::new(KEY_COLUMN_USAGE);
    for (database, table) in all_tables(view) {
        let schema = &table.info.schema;
        let keys = schema.key_columns().enumerate().map(|(at, column)| ("PRIMARY", column, at as i64 + 1));
        for (name, column, at) in keys.chain([("TIME INDEX", schema.time_index(), 1)]) {
            sheet.push(vec![
                CATALOG.into(),
                database.into(),
                name.into(),
                CATALOG.into(),
                database.into(),
                table.info.name.as_str().into(),
                column.name.as_str().into(),
                at.into(),
            ]);
        }
    }
    sheet
}

const REGIONS: Columns = &[
    ("table_catalog", Text),
    ("table_schema", Text),
    ("table_name", Text),
    ("region_id", Int),
    ("region_number", Int),
    ("epoch", Int),
    ("node_id", Int),
    ("peer_addr", Text),
    ("status", Text),
    ("session", Text),
];

fn regions(view: &View, _: &str) -> Sheet {
    let mut sheet = Sheet::new(REGIONS);
    for (database, table) in all_tables(view) {
        for route in table.routes.iter() {
            sheet.push(vec![
                CATALOG.into(),
                database.into(),
                table.info.name.as_str().into(),
                (route.region.0 as i64).into(),
                i64::from(route.region.number()).into(),
                (route.epoch.0 as i64).into(),
                (route.node.0 as i64).into(),
                view.nodes.get(&route.node).map_or(Cell::Null, |address| address.as_str().into()),
                format!("{:?}", route.state).to_lowercase().into(),
                route.owner.to_string().into(),
            ]);
        }
    }
    sheet
}

/// GreptimeDB's columns.
const PEERS: Columns = &[
    ("table_catalog", Text),
    ("table_schema", Text),
    ("table_name", Text),
    ("region_id", Int),
    ("peer_id", Int),
    ("peer_addr", Text),
    ("is_leader", Text),
    ("status", Text),
    ("down_seconds", Int),
];

fn peers(view: &View, _: &str) -> Sheet {
    let mut sheet = Sheet::new(PEERS);
    for (database, table) in all_tables(view) {
        for route in table.routes.iter() {
            let is_open = route.state == RouteState::Open;
            sheet.push(vec![
                CATALOG.into(),
                database.into(),
                table.info.name.as_str().into(),
                (route.region.0 as i64).into(),
                (route.node.0 as i64).into(),
                view.nodes.get(&route.node).map_or(Cell::Null, |address| address.as_str().into()),
                "Yes".into(),
                if is_open { "ALIVE" } else { "DOWNGRADED" }.into(),
                Cell::Null,
            ]);
        }
    }
    sheet
}

const STATISTICS: Columns = &[
    ("region_id", Int),
    ("table_id", Int),
    ("region_number", Int),
    ("table_schema", Text),
    ("table_name", Text),
    ("series", Int),
    ("memtable_rows", Int),
    ("memtable_size", Int),
    ("sst_rows", Int),
    ("sst_num", Int),
    ("sst_size", Int),
    ("sequence", Int),
    ("flushed_to", Int),
    ("manifest_version", Int),
    ("session", Text),
    ("reported_ms_ago", Int),
];

fn statistics(view: &View, reports: &[RegionReport]) -> Sheet {
    let mut sheet = Sheet::new(STATISTICS);
    for (database, table) in all_tables(view) {
        for report in reports.iter().filter(|report| report.region.table() == table.info.id) {
            let of = &report.statistics;
            let mut row: Vec<Cell> = vec![
                (report.region.0 as i64).into(),
                i64::from(table.info.id.0).into(),
                i64::from(report.region.number()).into(),
                database.into(),
                table.info.name.as_str().into(),
            ];
            let figures = [
                of.series,
                of.memtable_rows,
                of.memtable_bytes,
                of.file_rows,
                of.files,
                of.file_bytes,
                of.sequence,
                of.flushed_to,
                of.manifest_version,
            ];
            row.extend(figures.map(|figure| Cell::from(figure as i64)));
            row.push(report.session.to_string().into());
            row.push((report.age.as_millis() as i64).into());
            sheet.push(row);
        }
    }
    sheet
}

const VIEWS: Columns =
    &[("table_catalog", Text), ("table_schema", Text), ("table_name", Text), ("view_definition", Text)];

fn views(_: &View, _: &str) -> Sheet {
    Sheet::new(VIEWS)
}

/// All tables with rows, by database and name.
pub(super) fn all_tables(view: &View) -> impl Iterator<Item = (&str, &Table)> {
    view.databases
        .iter()
        .flat_map(|(name, database)| database.tables.values().map(move |table| (name.as_str(), table.as_ref())))
}
