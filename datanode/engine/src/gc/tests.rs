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
