use varve_model::batch::{FieldColumn, Values, Vector};
use varve_model::id::{ColumnId, RegionEpoch, RegionId, SchemaVersion, SeriesId};
use varve_model::schema::StoredType;
use varve_model::series::SeriesKeys;

use super::*;
use crate::sst::Projection;

fn block(first_seq: u64, series: Vec<u32>, ts: Vec<i64>, column: u32) -> Arc<Block> {
    let values = Values::I64((0..ts.len() as i64).map(|row| first_seq as i64 + row).collect());
    let fields = vec![FieldColumn { column: ColumnId(column), vector: Vector { values, validity: None } }];
    body(first_seq, BlockBody::Rows { series, ts, fields })
}

fn body(first_seq: u64, body: BlockBody) -> Arc<Block> {
    Arc::new(Block {
        region: RegionId(1),
        epoch: RegionEpoch(1),
        schema_version: SchemaVersion(0),
        first_seq: Sequence(first_seq),
        tokens: Vec::new(),
        first_new_series: SeriesId(0),
        new_series: SeriesKeys::default(),
        body,
    })
}

/// (series, ts, sequence, columns) of all rows in the order of pieces.
fn rows(memtable: &Memtable, ids: &[u32]) -> Vec<(u32, i64, u64, Vec<Option<i64>>)> {
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    let fields = vec![(ColumnId(1), StoredType::I64), (ColumnId(2), StoredType::I64)];
    let projection = Projection { fields, ts: true, seq: true };
    let mut rows = Vec::new();
    for part in memtable.parts() {
        let piece = part.piece(ids, TimeRange::ALL, &projection).expect("piece");
        for (series, id) in ids.iter().enumerate() {
            let mut of_series = Vec::new();
            for row in piece.run(series) {
                let value = |column: usize| piece.columns[column].as_primitive::<Int64Type>().iter().nth(row).flatten();
                of_series.push((*id, piece.ts[row], piece.seq.get(row), vec![value(0), value(1)]));
            }
            assert!(of_series.is_sorted_by_key(|row| (row.1, row.2)), "a run is in (ts, sequence) order");
            rows.extend(of_series);
        }
    }
    rows.sort();
    rows
}

#[test]
fn however_small_the_blocks_parts_stay_few_and_no_row_changes() {
    let mut memtable = Memtable::new(Sequence(0));
    let mut expected = Vec::new();
    for at in 0..2500u64 {
        let (series, ts, column) = ((at * 7 % 5) as u32, (at * 13 % 11) as i64, (at % 2) as u32);
        memtable.apply(block(at + 1, vec![series], vec![ts], column + 1));
        let value = Some(at as i64 + 1);
        expected.push((series, ts, at + 1, if column == 0 { vec![value, None] } else { vec![None, value] }));
    }
    expected.sort();
    assert!(memtable.parts().len() < 3 * SEAL_PARTS, "{} parts", memtable.parts().len());
    assert_eq!(rows(&memtable, &[0, 1, 2, 3, 4]), expected);
    assert_eq!((memtable.rows(), memtable.upto()), (2500, Sequence(2500)));
    assert_eq!(rows(&memtable, &[3]).len(), 500);
    assert_eq!(rows(&memtable, &[77]), []);
}

#[test]
fn many_waiting_rows_are_sealed_into_a_part_that_stays() {
    let mut memtable = Memtable::new(Sequence(0));
    for at in 0..4u64 {
        let rows = 50_000;
        let series = (0..rows).map(|row| row % 1000).collect();
        memtable.apply(block(at * 50_000 + 1, series, (0..i64::from(rows)).collect(), 1));
    }
    let tiers = memtable.parts().iter().map(Part::tier).collect::<Vec<_>>();
    assert_eq!(tiers, [TIER_FINAL, 0]);
    assert_eq!(memtable.parts().iter().map(Part::rows).sum::<usize>(), 200_000);
    assert!(memtable.bytes() > 200_000 * 20 && memtable.bytes() < 200_000 * 60);
}

#[test]
fn series_far_apart_are_grouped_like_near_ones() {
    let series = [u32::MAX, 0, 5_000_000, 0, u32::MAX];
    let (groups, order) = Groups::of(&series);
    assert_eq!(order, [1, 3, 2, 0, 4]);
    assert_eq!(groups, Groups { ids: vec![0, 5_000_000, u32::MAX], starts: vec![0, 2, 3, 5] });
}

#[test]
fn a_change_of_a_clone_leaves_readers_alone() {
    let mut memtable = Memtable::new(Sequence(4));
    memtable.apply(block(5, vec![0], vec![1], 1));
    let snapshot = memtable.clone();
    let time = TimeRange { start: 0, end: 9 };
    memtable.apply(body(6, BlockBody::Delete { series: Some(vec![SeriesId(0)]), time }));
    assert_eq!((snapshot.upto(), snapshot.deletes().len()), (Sequence(5), 0));
    assert_eq!((memtable.upto(), memtable.rows(), memtable.deletes().len()), (Sequence(6), 1, 1));
    let tombstone = memtable.deletes()[0].tombstone(Sequence(9));
    assert_eq!(Mask::from(&tombstone).sequence, Sequence(9));
    assert!(Mask::from(&tombstone).concerns(0) && !Mask::from(&tombstone).concerns(1));
}
