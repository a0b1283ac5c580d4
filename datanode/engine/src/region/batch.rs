//! Turns batches into the block that is logged and held: ids, sequence, one set of fields.

use varve_model::batch::{FieldColumn, RegionBatch, Vector};
use varve_model::budget::Account;
use varve_model::id::{RegionEpoch, RegionId, Sequence, SeriesId};
use varve_model::schema::{ColumnRole, Schema};
use varve_model::series::SeriesKeys;
use varve_model::{Error, ErrorKind, Reason, Result};

use crate::format::block::{Block, BlockBody};
use crate::index::SeriesIndex;
use crate::sst::types::storable;

/// Checks that the region's schema has every column, of the same type.
/// Errors: `StaleRoute` when sender and region know different schemas; `InvalidRequest` for a time no file can hold:
/// acknowledged, it could never be flushed.
pub(super) fn check_schema(batch: &RegionBatch, schema: &Schema) -> Result<()> {
    let stale = |why: String| Err(Error::new(ErrorKind::StaleRoute, why).with_reason(Reason::Column));
    if batch.schema_version > schema.version {
        return stale(format!("the region has schema version {}, not {} yet", schema.version, batch.schema_version));
    }
    let (time, storable) = (batch.time_range(), storable(schema.time_unit()));
    if !time.is_empty() && time.intersect(storable) != time {
        return Err(Error::invalid("a timestamp in seconds is out of range").with_reason(Reason::BadValue));
    }
    for field in &batch.fields {
        match schema.column_by_id(field.column) {
            Some(column) if column.role == ColumnRole::Field && column.logical.stored() == field.stored() => {}
            Some(column) => return stale(format!("column '{}' is not a field of the sent type", column.name)),
            None => return stale(format!("column id {} was dropped", field.column)),
        }
    }
    Ok(())
}

/// Refuses new series while the indexes have no room for them. Errors: `Busy`.
pub(super) fn check_series(batch: &RegionBatch, index: &SeriesIndex, account: &Account) -> Result<()> {
    if !account.is_full() || batch.keys.iter().all(|key| index.get(key).is_some()) {
        return Ok(());
    }
    Err(Error::busy(format!(
        "new series are refused: memory account '{}' is full with {} of {} bytes",
        account.name(),
        account.bytes(),
        account.bytes_max()
    )))
}

/// The single writer's counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counters {
    /// The next row's number.
    pub(super) next_seq: Sequence,
    /// Series below are defined in the log or in index segments.
    pub(super) logged_series: SeriesId,
}

/// Where a block goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) region: RegionId,
    pub(super) epoch: RegionEpoch,
}

/// Makes one block of batches of one schema version, advancing the counters. Precondition: they were checked and
/// hold at least one row.
pub(super) fn sequence(batches: Vec<RegionBatch>, index: &SeriesIndex, counters: &mut Counters, place: Place) -> Block {
    let mut new_series = undefined(index, counters.logged_series);
    let rows = batches.iter().map(RegionBatch::rows).sum::<usize>();
    let mut series = Vec::with_capacity(rows);
    for batch in &batches {
        let ids = batch.keys.iter().map(|key| {
            index.get(key).unwrap_or_else(|| {
                new_series.push(key);
                index.insert(key)
            })
        });
        let ids = ids.map(|id| id.0).collect::<Vec<_>>();
        series.extend(batch.series.iter().map(|&slot| ids[slot as usize]));
    }
    let schema_version = batches[0].schema_version;
    let tokens = batches.iter().flat_map(|batch| batch.tokens.iter().copied()).collect();
    let (ts, fields) = join(batches);
    let block = Block {
        region: place.region,
        epoch: place.epoch,
        schema_version,
        first_seq: counters.next_seq,
        tokens,
        first_new_series: counters.logged_series,
        new_series,
        body: BlockBody::Rows { series, ts, fields },
    };
    advance(&block, counters);
    block
}

/// Counts a block that is being logged.
pub(super) fn advance(block: &Block, counters: &mut Counters) {
    counters.next_seq = Sequence(block.first_seq.0 + block.rows());
    counters.logged_series = SeriesId(block.first_new_series.0 + block.new_series.len() as u32);
}

/// Keys that have an id but whose definition was refused by the log: the next block defines them.
pub(super) fn undefined(index: &SeriesIndex, logged: SeriesId) -> SeriesKeys {
    let mut keys = SeriesKeys::default();
    for id in logged.0..index.next_id().0 {
        keys.push(&index.key(SeriesId(id)));
    }
    keys
}

/// Timestamps and fields of all batches, missing fields filled with nulls. A lone batch is moved, not copied.
fn join(mut batches: Vec<RegionBatch>) -> (Vec<i64>, Vec<FieldColumn>) {
    if batches.len() == 1 {
        let batch = batches.pop().expect("there is one");
        return (batch.ts, batch.fields);
    }
    let mut columns = batches
        .iter()
        .flat_map(|batch| batch.fields.iter().map(|field| (field.column, field.stored())))
        .collect::<Vec<_>>();
    columns.sort_unstable();
    columns.dedup();
    let fields = columns.into_iter().map(|(column, stored)| {
        let mut vector = Vector::new(stored);
        for batch in &batches {
            match batch.fields.iter().find(|field| field.column == column) {
                None => vector.extend_null(batch.rows()),
                Some(field) => (0..batch.rows()).for_each(|row| vector.push_from(&field.vector, row)),
            }
        }
        FieldColumn { column, vector }
    });
    let fields = fields.collect();
    (batches.iter().flat_map(|batch| batch.ts.iter().copied()).collect(), fields)
}
