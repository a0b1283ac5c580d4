//! Sealing: several parts become one, sorted by (series, ts, sequence).
//!
//! Stable, so that of two rows with one key the later stays last. Nothing is
//! dropped here: which of them wins depends on the table's mode at read time.

use std::collections::BTreeMap;

use varve_model::batch::{Bitmap, Bytes, FieldColumn, Values, Vector};
use varve_model::id::{ColumnId, Sequence};
use varve_model::schema::StoredType;
use varve_model::time::TimeRange;
use varve_service::telemetry::stage::{Stage, StageTimer};

use super::part::{Groups, Part, SortedPart, sort_by_ts, vector_of};

/// One sorted part of all rows of `parts`, which are in sequence order.
pub(super) fn seal(parts: &[Part], tier: u8) -> SortedPart {
    let timer = StageTimer::start(Stage::Seal);
    let rows = parts.iter().map(Part::rows).sum();
    let mut series = Vec::with_capacity(rows);
    let mut all_ts = Vec::with_capacity(rows);
    let mut all_seq = Vec::with_capacity(rows);
    for part in parts {
        part.extend_series(&mut series);
        part.extend_seq(&mut all_seq);
        all_ts.extend_from_slice(part.sealable().ts);
    }
    let (groups, mut order) = Groups::of(&series);
    for bounds in groups.starts.windows(2) {
        sort_by_ts(&mut order[bounds[0] as usize..bounds[1] as usize], &all_ts);
    }
    let fields = columns(parts)
        .into_iter()
        .map(|(column, stored)| FieldColumn { column, vector: concat(parts, column, stored, rows).gather(&order) })
        .collect();
    let time = parts.iter().fold(TimeRange::EMPTY, |time, part| time.union(part.time()));
    let first = parts.iter().map(|part| part.sequences().0).min().unwrap_or(Sequence(0));
    let last = parts.iter().map(|part| part.sequences().1).max().unwrap_or(Sequence(0));
    let sorted = SortedPart {
        groups,
        ts: order.iter().map(|&row| all_ts[row as usize]).collect(),
        seq: order.iter().map(|&row| all_seq[row as usize]).collect(),
        fields,
        time,
        sequences: (first, last),
        tier,
    };
    timer.finish(rows, 0);
    sorted
}

/// All columns of the parts, by id. A column's stored type never changes.
fn columns(parts: &[Part]) -> BTreeMap<ColumnId, StoredType> {
    parts.iter().flat_map(|part| part.sealable().fields).map(|field| (field.column, field.stored())).collect()
}

/// One column of all parts back to back, nulls where a part does not have it.
fn concat(parts: &[Part], column: ColumnId, stored: StoredType, rows: usize) -> Vector {
    let mut values = Values::new(stored);
    let mut validity: Option<Bitmap> = None;
    for part in parts {
        let before = values.len();
        let len = part.rows();
        let vector = vector_of(part.sealable().fields, column).filter(|vector| extend(&mut values, &vector.values));
        if vector.is_none() {
            extend_zero(&mut values, before + len);
        }
        let present = vector.map(|vector| vector.validity.as_ref());
        match present {
            Some(None) => {
                if let Some(validity) = &mut validity {
                    validity.extend(len, true);
                }
            }
            Some(Some(from)) => {
                let to = validity.get_or_insert_with(|| Bitmap::filled(before, true));
                (0..len).for_each(|at| to.push(from.get(at)));
            }
            None => validity.get_or_insert_with(|| Bitmap::filled(before, true)).extend(len, false),
        }
    }
    debug_assert_eq!(values.len(), rows);
    Vector { values, validity }
}

/// Appends values of the same type; false, and nothing appended, for another one.
fn extend(to: &mut Values, from: &Values) -> bool {
    fn bytes(to: &mut Bytes, from: &Bytes) {
        let base = to.data.len() as u32;
        to.data.extend_from_slice(&from.data);
        to.ends.extend(from.ends.iter().map(|end| base + end));
    }
    match (to, from) {
        (Values::F64(to), Values::F64(from)) => to.extend_from_slice(from),
        (Values::I64(to), Values::I64(from)) => to.extend_from_slice(from),
        (Values::U64(to), Values::U64(from)) => to.extend_from_slice(from),
        (Values::Bool(to), Values::Bool(from)) => to.extend_from_slice(from),
        (Values::String(to), Values::String(from))
        | (Values::Json(to), Values::Json(from))
        | (Values::Binary(to), Values::Binary(from)) => bytes(to, from),
        _ => return false,
    }
    true
}

fn extend_zero(values: &mut Values, len: usize) {
    match values {
        Values::F64(values) => values.resize(len, 0.0),
        Values::I64(values) => values.resize(len, 0),
        Values::U64(values) => values.resize(len, 0),
        Values::Bool(values) => values.resize(len, false),
        Values::String(values) | Values::Json(values) | Values::Binary(values) => {
            let end = values.data.len() as u32;
            values.ends.resize(len, end);
        }
    }
}
