use varve_model::id::RegionId;

use super::*;

const LEASE: Duration = Duration::from_secs(10);
const BEAT: Duration = Duration::from_secs(3);
const SESSION: NodeEpoch = NodeEpoch(1);

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn registry() -> Registry {
    let registry = Registry::new(LEASE, BEAT, 7);
    registry.admit(SESSION, NodeId(1), Duration::ZERO);
    registry
}

fn beat(reports: Vec<Report>) -> Beat {
    Beat { number: 1, reports, regions: vec![] }
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
    registry.beat(&seat, beat(vec![Report { order: first[0].id, outcome: Ok(()) }]), seconds(7)).expect("beat");
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
    assert_eq!(registry.connected(seconds(1)).len(), 1, "leaving a lost seat changes nothing");
    registry.disconnect(&new);
    assert_eq!(registry.connected(seconds(1)), []);
}

#[test]
fn equal_opens_are_joined_but_flushes_are_not() {
    let registry = registry();
    let seat = registry.connect(SESSION).expect("known");
    let outcomes = [OrderKind::Drop(RegionId(1)), OrderKind::Drop(RegionId(1))]
        .map(|kind| registry.order(SESSION, kind).expect("order"));
    let sent = registry.due(&seat, seconds(0)).expect("seated");
    assert_eq!(sent.len(), 1);
    registry.beat(&seat, beat(vec![Report { order: sent[0].id, outcome: Ok(()) }]), seconds(0)).expect("beat");
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
    assert_eq!(registry.connected(seconds(16)).len(), 1);
    assert_eq!(registry.connected(seconds(17)), []);
}

#[test]
fn ending_a_session_tells_whoever_waits_and_fences_its_streams() {
    let registry = registry();
    let seat = registry.connect(SESSION).expect("known");
    let mut outcome = registry.order(SESSION, OrderKind::Flush(RegionId(1))).expect("order");
    registry.retire(SESSION);
    let error = outcome.try_recv().expect("told").expect_err("ended");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(registry.beat(&seat, beat(vec![]), seconds(1)).expect_err("fenced").kind(), ErrorKind::Fenced);
    assert_eq!(registry.connect(SESSION).expect_err("fenced").kind(), ErrorKind::Fenced);
    registry.order(SESSION, OrderKind::Flush(RegionId(1))).expect_err("no such session");
}
