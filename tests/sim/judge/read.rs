//! Full strong reads, through the scan verb and without SQL.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampNanosecondType};
use arrow_array::{Array, RecordBatch};
use futures::StreamExt;
use varve_model::id::RegionId;
use varve_model::region::Route;
use varve_model::scan::ScanSpec;
use varve_model::table::TableInfo;
use varve_model::time::TimeRange;
use varve_model::{Error, Result};
use varve_proto::call::Call;
use varve_proto::datanode::ScanTicket;
use varve_proto::metasrv::Change;

use crate::door::Door;
use crate::judge::history::{Appends, Key};

/// A table with its routes.
pub(crate) type Located = (Arc<TableInfo>, Arc<[Route]>);

pub(crate) fn call() -> Call {
    Call::system("sim", Duration::from_secs(30))
}

/// The table as metasrv knows it now.
pub(crate) async fn locate(door: &Door, name: &str) -> Result<Option<Located>> {
    let mut news = door.metasrv.watch(&call(), None).await?;
    let first = news.next().await.ok_or_else(|| Error::unavailable("no snapshot"))??;
    let Change::Snapshot(catalog) = &first.change else {
        return Err(Error::internal("news begin without a snapshot"));
    };
    Ok(catalog.tables.iter().find(|(table, _)| table.name == name).cloned())
}

/// Calls `row(region, series, ts, value)` for every row of the table; rows without the field are passed over.
async fn rows(door: &Door, located: &Located, mut row: impl FnMut(u32, &str, i64, i64)) -> Result<()> {
    let (table, routes) = located;
    let id = |name: &str| table.schema.column(name).map(|column| column.id);
    let (Some(series), Some(value)) = (id("s"), id("v")) else {
        return Ok(());
    };
    let columns = vec![series, table.schema.time_index().id, value];
    for route in routes.iter() {
        let spec = ScanSpec {
            region: route.region,
            epoch: route.epoch,
            time: TimeRange::ALL,
            matchers: Vec::new(),
            columns: columns.clone(),
        };
        let mut reply = door.datanode(route)?.scan(&call(), ScanTicket::Region(spec)).await?;
        while let Some(batch) = reply.stream.next().await {
            each(&batch?, |series, ts, value| row(route.region.number(), series, ts, value));
        }
    }
    Ok(())
}

fn each(batch: &RecordBatch, mut row: impl FnMut(&str, i64, i64)) {
    let series = batch.column(0).as_string_view();
    let ts = batch.column(1).as_primitive::<TimestampNanosecondType>();
    let value = batch.column(2).as_primitive::<Int64Type>();
    for at in 0..batch.num_rows() {
        if value.is_valid(at) {
            row(series.value(at), ts.value(at), value.value(at));
        }
    }
}

/// All rows of the deduplicating table.
pub(crate) async fn keys(door: &Door) -> Result<BTreeMap<Key, Vec<i64>>> {
    let mut found: BTreeMap<Key, Vec<i64>> = BTreeMap::new();
    if let Some(located) = locate(door, "m").await? {
        rows(door, &located, |_, series, ts, value| {
            found.entry((series.to_owned(), ts)).or_default().push(value);
        })
        .await?;
    }
    Ok(found)
}

/// All rows of the append table.
pub(crate) async fn appends(door: &Door) -> Result<Appends> {
    let mut found = Appends::new();
    if let Some(located) = locate(door, "a").await? {
        rows(door, &located, |region, _, _, value| {
            found.entry(value).or_insert((region, 0)).1 += 1;
        })
        .await?;
    }
    Ok(found)
}

/// The regions of both tables.
pub(crate) async fn regions(door: &Door) -> Result<Vec<RegionId>> {
    let mut regions = Vec::new();
    for name in ["m", "a"] {
        let located = locate(door, name).await?;
        regions.extend(located.iter().flat_map(|(_, routes)| routes.iter().map(|route| route.region)));
    }
    Ok(regions)
}
