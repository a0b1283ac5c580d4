use proptest::prelude::*;
use varve_model::time::TimeRange;

use super::*;

fn range(start: i64, end: i64) -> TimeRange {
    TimeRange { start, end }
}

#[test]
fn sources_that_touch_are_merged_together_and_others_are_not() {
    let times = [range(5, 9), range(0, 4), range(9, 12), TimeRange::EMPTY, range(20, 20)];
    assert_eq!(components(&times), [vec![1], vec![0, 2], vec![4]]);
    assert_eq!(components(&[]), Vec::<Vec<usize>>::new());
}

proptest! {
    #[test]
    fn components_hold_every_source_once_and_do_not_overlap(
        times in proptest::collection::vec((-50i64..50, 0i64..20), 0..20),
    ) {
        let times = times.into_iter().map(|(start, len)| range(start, start + len)).collect::<Vec<_>>();
        let sets = components(&times);
        let mut all = sets.concat();
        all.sort_unstable();
        prop_assert_eq!(all, (0..times.len()).collect::<Vec<_>>());
        let covered = sets.iter().map(|set| {
            set.iter().fold(TimeRange::EMPTY, |time, &at| time.union(times[at]))
        }).collect::<Vec<_>>();
        prop_assert!(covered.windows(2).all(|pair| pair[0].end < pair[1].start));
    }

    #[test]
    fn groups_are_bounded_and_hold_every_series_once(
        rows in proptest::collection::vec(0u64..9, 0..30),
        rows_max in 1u64..20,
    ) {
        let series = rows.iter().enumerate().map(|(id, &rows)| Counted { id: id as u32, rows }).collect::<Vec<_>>();
        let groups = groups(&series, rows_max);
        prop_assert_eq!(&groups.concat(), &series);
        for group in groups {
            let rows = group.iter().map(|counted| counted.rows).sum::<u64>();
            prop_assert!(!group.is_empty() && (group.len() == 1 || rows <= rows_max));
        }
    }
}
