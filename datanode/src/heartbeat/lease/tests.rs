//! When a lease counts.

use super::*;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_lease_counts_after_one_look_and_for_as_long_as_it_is_renewed_in_time() {
    let mut lease = Lease::default();
    assert_eq!(lease.granted(s(1), s(11)), Step::Look(1));
    assert_eq!(lease.granted(s(2), s(12)), Step::Wait);
    assert!(!lease.counts());
    assert_eq!(lease.looked(1, true), Some(s(12)));
    assert_eq!(lease.granted(s(11), s(21)), Step::Use(s(21)));
    assert_eq!(lease.granted(s(20), s(19)), Step::Use(s(21)), "an old answer shortens nothing");
    assert!(lease.counts());
}

#[test]
fn a_lease_that_lapsed_counts_after_another_look_that_began_later() {
    let mut lease = Lease::default();
    assert_eq!(lease.granted(s(1), s(11)), Step::Look(1));
    assert_eq!(lease.granted(s(11), s(21)), Step::Look(2), "over at its last instant");
    assert_eq!(lease.looked(1, true), None, "that look began before the lapse");
    assert_eq!(lease.looked(2, true), Some(s(21)));
}

#[test]
fn a_look_without_outcome_is_repeated() {
    let mut lease = Lease::default();
    assert_eq!(lease.granted(s(1), s(11)), Step::Look(1));
    assert_eq!(lease.looked(1, false), None);
    assert_eq!(lease.granted(s(2), s(12)), Step::Look(1));
    assert_eq!(lease.looked(1, true), Some(s(12)));
}
