//! Where regions are, and what their datanodes reported: GreptimeDB's tables, and MySQL's `partitions`.

use varve_model::region::RouteState;
use varve_proto::metasrv::RegionReport;
use varve_query::context::CATALOG;

use super::super::system::Kind::{Int, Text};
use super::super::system::{Cell, Columns, Sheet, Viewer};
use super::all_tables;
use crate::cluster::View;

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

pub(super) fn regions(view: &View, _: &Viewer) -> Sheet {
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

pub(super) fn peers(view: &View, _: &Viewer) -> Sheet {
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

pub(super) fn region_statistics(view: &View, reports: &[RegionReport]) -> Sheet {
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

const PARTITIONS: Columns = &[
    ("table_catalog", Text),
    ("table_schema", Text),
    ("table_name", Text),
    ("partition_name", Text),
    ("subpartition_name", Text),
    ("partition_ordinal_position", Int),
    ("subpartition_ordinal_position", Int),
    ("partition_method", Text),
    ("subpartition_method", Text),
    ("partition_expression", Text),
    ("subpartition_expression", Text),
    ("partition_description", Text),
    ("table_rows", Int),
    ("avg_row_length", Int),
    ("data_length", Int),
    ("max_data_length", Int),
    ("index_length", Int),
    ("data_free", Int),
    ("create_time", Text),
    ("update_time", Text),
    ("check_time", Text),
    ("checksum", Int),
    ("partition_comment", Text),
    ("nodegroup", Text),
    ("tablespace_name", Text),
    ("greptime_partition_id", Int),
];

/// A partition is a region: rows are spread by the hash of their tags.
pub(super) fn partitions(view: &View, _: &Viewer) -> Sheet {
    let mut sheet = Sheet::new(PARTITIONS);
    for (database, table) in all_tables(view) {
        let tags = table.info.schema.key_columns().map(|column| column.name.as_str()).collect::<Vec<_>>();
        for (at, region) in table.info.regions().enumerate() {
            let mut row = vec![Cell::Null; PARTITIONS.len()];
            row[0] = CATALOG.into();
            row[1] = database.into();
            row[2] = table.info.name.as_str().into();
            row[3] = format!("p{}", region.number()).into();
            row[5] = (at as i64 + 1).into();
            row[7] = "HASH".into();
            row[9] = tags.join(", ").into();
            row[25] = (region.0 as i64).into();
            sheet.push(row);
        }
    }
    sheet
}
