use varve_model::id::{RegionEpoch, RegionId};
use varve_proto::metasrv::Found;

use super::*;

const LEASE: Duration = Duration::from_secs(10);
const BEAT: Duration = Duration::from_secs(3);
const SESSION: NodeEpoch = NodeEpoch(1);
const MEMBER: Member = Member { session: SESSION, node: NodeId(1), volume: None, lease: LEASE };

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn registry() -> Registry {
    let registry = Registry::new((LEASE, BEAT), Duration::ZERO, 7);
    registry.admit(MEMBER, Duration::ZERO);
    registry
}

fn done(order: u64) -> Report {
    Report { order, outcome: Ok(()), found: None }
}

fn beat(reports: Vec<Report>) -> Beat {
    Beat { number: 1, reports, ..Beat::default() }
}

#[test]
fn an_order_is_repeated_until_it_is_reported() {
    let registry = registry();
    let seat = registry.connect(SESSION).expect("known");
    let mut outcome = registry.order(SESSION, OrderKind::Flush(RegionId(1))).expect("order");
    let first = registry.due(&seat, seconds(0)).expect("seated");
    assert_eq!(first.len(), 1);
    assert_eq!(registry.due(&seat, seconds(1)).expect("seated"), [], "just sent");
    assert_eq!(registry.due(&seat, seconds(6)).expect("seated"), first, "two beats without a report");
    outcome.try_recv().expect_err("not reported");
    registry.beat(&seat, beat(vec![done(first[0].id)]), seconds(7)).expect("beat");
    outcome.try_recv().expect("reported").expect("ok");
    assert_eq!(registry.due(&seat, seconds(60)).expect("seated"), []);
}

#[test]
fn a_new_stream_gets_every_unreported_order_and_the_old_one_loses_its_seat() {
    let registry = registry();
    let old = registry.connect(SESSION).expect("known");
    let _outcome = registry.order(SESSION, OrderKind::Drop(RegionId(1))).expect("order");
    let sent = registry.due(&old, seconds(0)).expect("seated");
    let new = registry.connect(SESSION).expect("known");
    assert_eq!(registry.due(&new, seconds(0)).expect("seated"), sent);
    assert_eq!(registry.due(&old, seconds(0)).expect_err("lost").kind(), ErrorKind::Unavailable);
    registry.disconnect(&old);
    assert_eq!(registry.placeable(seconds(1)).len(), 1, "leaving a lost seat changes nothing");
    registry.disconnect(&new);
    assert_eq!(registry.placeable(seconds(1)), []);
}

#[test]
fn equal_opens_are_joined_but_flushes_are_not() {
    let registry = registry();
    let seat = registry.connect(SESSION).expect("known");
    let outcomes = [OrderKind::Drop(RegionId(1)), OrderKind::Drop(RegionId(1))]
        .map(|kind| registry.order(SESSION, kind).expect("order"));
    let sent = registry.due(&seat, seconds(0)).expect("seated");
    assert_eq!(sent.len(), 1);
    registry.beat(&seat, beat(vec![done(sent[0].id)]), seconds(0)).expect("beat");
    for mut outcome in outcomes {
        outcome.try_recv().expect("both hear of it").expect("ok");
    }
    let _flushes = [OrderKind::Flush(RegionId(1)), OrderKind::Flush(RegionId(1))]
        .map(|kind| registry.order(SESSION, kind).expect("order"));
    assert_eq!(registry.due(&seat, seconds(0)).expect("seated").len(), 2);
}

#[test]
fn a_session_counts_as_alive_for_its_lease_and_a_margin() {
    let registry = registry();
    let seat = registry.connect(SESSION).expect("known");
    registry.beat(&seat, beat(vec![]), seconds(5)).expect("beat");
    assert_eq!(registry.placeable(seconds(16)).len(), 1);
    assert_eq!(registry.placeable(seconds(17)), []);
}

#[test]
fn ending_a_session_tells_whoever_waits_and_fences_its_streams() {
    let registry = registry();
    let seat = registry.connect(SESSION).expect("known");
    let mut outcome = registry.order(SESSION, OrderKind::Flush(RegionId(1))).expect("order");
    registry.retire(SESSION);
    let error = outcome.try_recv().expect("told").expect_err("ended");
    assert_eq!(error.error.kind(), ErrorKind::Unavailable);
    assert_eq!(registry.beat(&seat, beat(vec![]), seconds(1)).expect_err("fenced").kind(), ErrorKind::Fenced);
    assert_eq!(registry.connect(SESSION).expect_err("fenced").kind(), ErrorKind::Fenced);
    registry.order(SESSION, OrderKind::Flush(RegionId(1))).expect_err("no such session");
}

#[test]
fn a_session_is_dead_only_a_margin_after_its_lease_and_until_then_nobody_says_so() {
    let registry = registry();
    let seat = registry.connect(SESSION).expect("known");
    registry.beat(&seat, beat(vec![]), seconds(5)).expect("beat");
    assert!(!registry.is_dead(SESSION, seconds(17).saturating_sub(Duration::from_nanos(1))));
    assert!(registry.is_dead(SESSION, seconds(17)));
    let fast = Registry::new((seconds(2), Duration::from_millis(500)), Duration::ZERO, 7);
    fast.admit(Member { lease: seconds(2), ..MEMBER }, Duration::ZERO);
    assert!(fast.is_dead(SESSION, Duration::from_millis(2_500)), "the margin scales with the lease");
    registry.beat(&seat, beat(vec![]), seconds(30)).expect("a session that was not ended is renewed");
    assert!(!registry.is_dead(SESSION, seconds(31)));
}

#[test]
fn a_session_keeps_the_lease_that_it_was_told_when_the_setting_changes() {
    let registry = Registry::new((seconds(2), Duration::from_millis(500)), Duration::ZERO, 7);
    registry.admit(MEMBER, Duration::ZERO);
    assert!(!registry.is_dead(SESSION, seconds(11)));
    assert!(registry.is_dead(SESSION, seconds(12)));
}

#[test]
fn a_session_that_the_term_does_not_know_may_have_been_answered_until_it_began() {
    let registry = Registry::new((LEASE, BEAT), seconds(100), 7);
    assert!(!registry.is_dead(SESSION, seconds(111)));
    assert!(registry.is_dead(SESSION, seconds(112)));
}

#[test]
fn a_node_that_beats_has_a_rival_but_not_one_that_is_silent_or_proved_dead() {
    let registry = registry();
    assert_eq!(registry.rival(NodeId(1), None, seconds(0)), None, "it never connected");
    let seat = registry.connect(SESSION).expect("known");
    registry.beat(&seat, beat(vec![]), seconds(5)).expect("beat");
    assert_eq!(registry.rival(NodeId(1), None, seconds(6)), Some(MEMBER));
    assert_eq!(registry.rival(NodeId(2), None, seconds(6)), None, "another node");
    assert_eq!(registry.rival(NodeId(1), None, seconds(11)), None, "two beats are missing");
    let on_volume = Member { session: NodeEpoch(2), volume: Some(VolumeId(7)), ..MEMBER };
    registry.retire(SESSION);
    registry.admit(on_volume, seconds(5));
    registry.connect(on_volume.session).expect("known");
    assert_eq!(registry.rival(NodeId(1), Some(VolumeId(7)), seconds(6)), None, "the lock proves it dead");
    assert_eq!(registry.rival(NodeId(1), Some(VolumeId(8)), seconds(6)), Some(on_volume));
}

#[test]
fn a_session_that_drains_gets_no_regions_but_can_still_seal() {
    let registry = registry();
    let seat = registry.connect(SESSION).expect("known");
    let drains = Beat { life: Life::Draining, ..Beat::default() };
    registry.beat(&seat, drains, seconds(0)).expect("beat");
    assert_eq!((registry.placeable(seconds(1)), registry.sealers(seconds(1))), (vec![], vec![MEMBER]));
    registry.beat(&seat, Beat { life: Life::Sealed, ..Beat::default() }, seconds(1)).expect("beat");
    assert_eq!(registry.sealers(seconds(1)), []);
}

#[test]
fn a_report_carries_the_epoch_that_the_bucket_showed() {
    let registry = registry();
    let seat = registry.connect(SESSION).expect("known");
    let mut outcome = registry.order(SESSION, OrderKind::Drop(RegionId(1))).expect("order");
    let order = registry.due(&seat, seconds(0)).expect("seated")[0].id;
    let fenced = Arc::new(Error::new(ErrorKind::Fenced, "older than the head"));
    let report = Report { order, outcome: Err(fenced), found: Some(Found::Epoch(RegionEpoch(9))) };
    registry.beat(&seat, beat(vec![report]), seconds(0)).expect("beat");
    let failure = outcome.try_recv().expect("reported").expect_err("refused");
    assert_eq!((failure.error.kind(), failure.found), (ErrorKind::Fenced, Some(Found::Epoch(RegionEpoch(9)))));
}

#[test]
fn statistics_are_the_newest_of_the_newest_owner_and_go_with_their_session() {
    let registry = registry();
    let (region, other) = (RegionId::new(TableId(7), 0), RegionId::new(TableId(8), 0));
    let says = |rows| RegionStatistics { file_rows: rows, ..RegionStatistics::default() };
    let with = |regions| Beat { regions, ..Beat::default() };
    let old = registry.connect(SESSION).expect("known");
    registry.beat(&old, with(vec![(region, says(1)), (other, says(5))]), seconds(0)).expect("beat");
    let newer = Member { session: NodeEpoch(2), node: NodeId(2), ..MEMBER };
    registry.admit(newer, seconds(0));
    let new = registry.connect(newer.session).expect("known");
    registry.beat(&new, with(vec![(region, says(2))]), seconds(1)).expect("beat");
    registry.beat(&old, with(vec![(region, says(1)), (other, says(5))]), seconds(2)).expect("beat");
    let reports = registry.statistics(Some(TableId(7)), seconds(4));
    let expected = RegionReport { region, session: newer.session, age: seconds(3), statistics: says(2) };
    assert_eq!(reports, [expected]);
    assert_eq!(registry.statistics(None, seconds(4)).len(), 2);
    registry.retire(SESSION);
    assert_eq!(registry.statistics(None, seconds(4)).len(), 1);
}
