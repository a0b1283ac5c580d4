use super::*;

fn candidate(session: u64, regions: usize) -> Candidate {
    Candidate { session: NodeEpoch(session), node: NodeId(session), regions }
}

#[test]
fn a_table_is_spread_first_then_whoever_has_the_fewest_regions_gets_more() {
    let owners = place(5, &[candidate(2, 0), candidate(1, 0), candidate(3, 3)]);
    assert_eq!(owners.iter().map(|owner| owner.session.0).collect::<Vec<_>>(), [1, 2, 3, 1, 2]);
    let owners = place(1, &[candidate(1, 4), candidate(2, 2), candidate(3, 3)]);
    assert_eq!(owners[0].session.0, 2, "a table of one region goes where the fewest are");
}

#[test]
fn without_candidates_there_is_no_owner() {
    assert_eq!(place(3, &[]), []);
}

#[test]
fn regions_of_a_dead_session_go_home_to_its_node_if_that_is_back() {
    let mut candidates = [candidate(5, 90), candidate(6, 0), Candidate { node: NodeId(5), ..candidate(9, 3) }];
    let owners = replace(2, NodeId(5), &mut candidates);
    assert_eq!(owners.iter().map(|owner| owner.session.0).collect::<Vec<_>>(), [9, 9], "the newest session of node 5");
}

#[test]
fn regions_of_a_dead_session_are_spread_over_the_others_table_by_table() {
    let mut candidates = [candidate(1, 4), candidate(2, 2), candidate(3, 0)];
    for _ in 0..6 {
        assert_eq!(replace(2, NodeId(9), &mut candidates).len(), 2);
    }
    assert_eq!(candidates.map(|candidate| candidate.regions), [6, 6, 6]);
    assert_eq!(replace(1, NodeId(9), &mut []), []);
}

proptest::proptest! {
    #[test]
    fn placement_spreads_a_table_evenly_and_the_surplus_goes_to_the_emptier(
        loads in proptest::collection::vec(0usize..20, 1..8),
        count in 0usize..60,
    ) {
        let candidates = loads.iter().enumerate().map(|(at, load)| candidate(at as u64 + 1, *load)).collect::<Vec<_>>();
        let owners = place(count, &candidates);
        proptest::prop_assert_eq!(owners.len(), count);
        let mut given = vec![0usize; loads.len()];
        for owner in &owners {
            given[owner.session.0 as usize - 1] += 1;
        }
        let (least, most) = (given.iter().min().copied().unwrap_or(0), given.iter().max().copied().unwrap_or(0));
        proptest::prop_assert!(most - least <= 1, "{:?}", given);
        let loads_of = |wanted: usize| loads.iter().zip(&given).filter(move |(_, given)| **given == wanted).map(|(load, _)| *load);
        if most > least {
            proptest::prop_assert!(loads_of(most).max() <= loads_of(least).min(), "{:?} {:?}", loads, given);
        }
    }
}
