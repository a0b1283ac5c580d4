//! Resolved rows to one batch per region.

use varve_model::batch::{FieldColumn, RegionBatch};
use varve_model::id::RegionId;
use varve_model::{ErrorKind, Result};
use varve_service::telemetry::stage::{Stage, StageTimer};

use super::ResolvedRows;
use super::cut::reslot;
use crate::cluster::Table;

/// One batch per region that has rows. With one region the vectors are moved, not copied.
///
/// Errors: `StaleRoute` when a region has no owner in the rows' view.
#[tracing::instrument(level = "debug", skip_all)]
pub(crate) fn split(rows: ResolvedRows) -> Result<Vec<RegionBatch>> {
    let timer = StageTimer::start(Stage::Split);
    let (count, bytes) = (rows.ts.len(), rows.keys.bytes_len() + 12 * rows.ts.len());
    let ranges = &rows.table.partition().ranges;
    let batches = if rows.ts.is_empty() {
        Ok(Vec::new())
    } else if let [range] = &ranges[..] {
        let region = RegionId::new(rows.table.info.id, range.region);
        whole(rows, region).map(|batch| vec![batch])
    } else {
        by_region(&rows)
    };
    timer.finish(count, bytes);
    batches
}

fn whole(rows: ResolvedRows, region: RegionId) -> Result<RegionBatch> {
    Ok(RegionBatch {
        region,
        epoch: rows.table.route(region)?.epoch,
        schema_version: rows.table.info.schema.version,
        keys: rows.keys,
        series: rows.series,
        ts: rows.ts,
        fields: rows.fields,
        tokens: rows.token.into_iter().collect(),
    })
}

fn by_region(rows: &ResolvedRows) -> Result<Vec<RegionBatch>> {
    let partition = rows.table.partition();
    // A series lies in one region, so the hash is taken per series and not per row.
    let range_of_slot = rows.keys.iter().map(|key| partition.range_of(key)).collect::<Vec<_>>();
    let mut rows_of = vec![Vec::new(); partition.ranges.len()];
    for (row, &slot) in rows.series.iter().enumerate() {
        rows_of[range_of_slot[slot as usize]].push(row as u32);
    }
    let mut batches = Vec::new();
    for (range, picked) in partition.ranges.iter().zip(rows_of) {
        if picked.is_empty() {
            continue;
        }
        let region = RegionId::new(rows.table.info.id, range.region);
        let (keys, series) = reslot(&rows.keys, &rows.series, &picked);
        let field = |field: &FieldColumn| FieldColumn { column: field.column, vector: field.vector.gather(&picked) };
        batches.push(RegionBatch {
            region,
            epoch: rows.table.route(region)?.epoch,
            schema_version: rows.table.info.schema.version,
            keys,
            series,
            ts: picked.iter().map(|&row| rows.ts[row as usize]).collect(),
            fields: rows.fields.iter().map(field).collect(),
            tokens: rows.token.into_iter().collect(),
        });
    }
    Ok(batches)
}

/// Addresses a refused batch anew under another view of its table: same rows, same tokens.
///
/// Errors: `StaleRoute` when the table's regions are others now.
pub(super) fn readdress(batch: &mut RegionBatch, table: &Table) -> Result<()> {
    if !table.info.regions().any(|region| region == batch.region) {
        return Err(varve_model::Error::new(ErrorKind::StaleRoute, format!("region {} is gone", batch.region)));
    }
    batch.epoch = table.route(batch.region)?.epoch;
    Ok(())
}
