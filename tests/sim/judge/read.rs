//! Full strong reads, through the scan verb and without SQL.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampNanosecondType};
use arrow_array::{Array, RecordBatch};
use futures::StreamExt;
use varve_model::id::{ColumnId, RegionId};
use varve_model::region::Route;
use varve_model::scan::ScanSpec;
use varve_model::table::TableInfo;
use varve_model::time::TimeRange;
use varve_model::{Error, Result};
use varve_proto::call::Call;
use varve_proto::datanode::{DatanodeApi, ScanTicket};
use varve_proto::metasrv::{Change, MetasrvApi};

use crate::door::Door;
use crate::judge::history::{Appends, Key};

/// A table with its routes.
pub(crate) type Located = (Arc<TableInfo>, Arc<[Route]>);

pub(crate) fn call() -> Call {
    Call::system("sim", Duration::from_secs(30))
}

/// The table as metasrv knows it now.
pub(crate) async fn locate(metasrv: &dyn MetasrvApi, name: &str) -> Result<Option<Located>> {
    let mut news = metasrv.watch(&call(), None).await?;
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
        let ticket = ticket(route, columns.clone());
        let mut reply = door.datanode(route)?.scan(&call(), ticket).await?;
        while let Some(batch) = reply.stream.next().await {
            each(&batch?, |series, ts, value| row(route.region.number(), series, ts, value));
        }
    }
    Ok(())
}

/// Everything of one region.
fn ticket(route: &Route, columns: Vec<ColumnId>) -> ScanTicket {
    let (region, epoch) = (route.region, route.epoch);
    ScanTicket::Region(ScanSpec { region, epoch, time: TimeRange::ALL, matchers: Vec::new(), columns })
}

/// One region of the append table, as far as its datanode sends it: row id -> times.
pub(crate) async fn appended(
    datanode: &dyn DatanodeApi,
    (table, route): (&TableInfo, &Route),
    call: &Call,
) -> Result<BTreeMap<i64, u32>> {
    let id = |name: &str| table.schema.column(name).map(|column| column.id);
    let (Some(series), Some(value)) = (id("s"), id("v")) else {
        return Err(Error::internal("the append table has other columns"));
    };
    let ticket = ticket(route, vec![series, table.schema.time_index().id, value]);
    let mut reply = datanode.scan(call, ticket).await?;
    let mut found = BTreeMap::new();
    while let Some(batch) = reply.stream.next().await {
        each(&batch?, |_, _, value| *found.entry(value).or_default() += 1);
    }
    Ok(found)
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
    if let Some(located) = locate(&*door.metasrv, "m").await? {
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
    if let Some(located) = locate(&*door.metasrv, "a").await? {
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
        let located = locate(&*door.metasrv, name).await?;
        regions.extend(located.iter().flat_map(|(_, routes)| routes.iter().map(|route| route.region)));
    }
    Ok(regions)
}
