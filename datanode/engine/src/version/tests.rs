use varve_model::time::TimeUnit;

use super::*;
use crate::tests::kit::{Lab, Row, WALL_NANOS, day_ttl, hours, table};

#[test]
fn the_oldest_row_read_is_rounded_up_to_the_unit_and_never_overflows() {
    for (unit, oldest) in
        [(TimeUnit::Second, 1_795_132_801), (TimeUnit::Nanosecond, WALL_NANOS + 1 - 86_400_000_000_000)]
    {
        let lab = Lab::new(table(MergeMode::LastRow, unit), day_ttl());
        assert_eq!(lab.set.view().alive(WALL_NANOS + 1).start, oldest);
    }
    let lab = Lab::new(table(MergeMode::LastRow, TimeUnit::Nanosecond), Ttl::For(std::time::Duration::MAX));
    assert_eq!(lab.set.view().alive(i64::MIN).start, i64::MIN);
}

#[test]
fn freezing_splits_generations_and_clearing_keeps_the_sequence() {
    let mut lab = Lab::new(table(MergeMode::LastRow, TimeUnit::Nanosecond), Ttl::Forever);
    assert!(lab.set.freeze().is_none());
    let row = Row { host: Some("a".into()), ts: hours(0), f: None, i: Some(1), s: None };
    lab.write(&[row.clone(), row.clone()]);
    let before = lab.set.view();
    let frozen = lab.set.freeze().expect("rows");
    assert_eq!((frozen.after, frozen.upto), (Sequence(0), Sequence(2)));
    lab.write(&[row]);
    assert_eq!((lab.set.memtable_rows(), before.memtable_rows()), (3, 2));
    lab.set.install(Vec::new(), Vec::new(), Some(&frozen));
    assert_eq!((lab.set.memtable_rows(), lab.set.view().flushed_to), (1, Sequence(2)));
    lab.set.clear();
    assert_eq!((lab.set.memtable_rows(), lab.set.memtable_bytes()), (0, 0));
    assert_eq!(lab.set.view().flushed_to, Sequence(3));
}
