use std::time::Duration;

use super::*;
use varve_model::id::RegionEpoch;

#[test]
fn a_file_goes_when_it_is_due_and_nobody_reads_it() {
    let (read, unread) = (FileName::new(RegionEpoch(1), 1), FileName::new(RegionEpoch(1), 2));
    let mut garbage = Garbage::default();
    garbage.push(vec![read, unread], Duration::from_secs(10));
    assert_eq!(garbage.due(Duration::from_secs(9), |_| false), vec![]);
    assert_eq!(garbage.due(Duration::from_secs(10), |name| name == read), vec![unread]);
    assert_eq!(garbage.due(Duration::from_secs(11), |_| false), vec![read]);
}

#[test]
fn a_file_that_others_refer_to_comes_up_again_with_the_next_that_is_due() {
    let (kept, next) = (FileName::new(RegionEpoch(1), 1), FileName::new(RegionEpoch(1), 2));
    let mut garbage = Garbage::default();
    garbage.put_aside(vec![kept]);
    assert!(garbage.is_empty(), "nothing has to be done for it");
    assert_eq!(garbage.due(Duration::MAX, |_| false), vec![]);
    garbage.push([next], Duration::from_secs(10));
    assert_eq!(garbage.due(Duration::from_secs(9), |_| false), vec![]);
    assert_eq!(garbage.due(Duration::from_secs(10), |_| false), vec![next, kept]);
}
