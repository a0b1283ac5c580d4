use super::*;

fn candidate(session: u64, regions: usize) -> Candidate {
    Candidate { session: NodeEpoch(session), node: NodeId(session), regions }
}

#[test]
fn regions_go_to_whoever_has_the_fewest_and_ties_to_the_lowest_session() {
    let owners = place(5, &[candidate(2, 0), candidate(1, 0), candidate(3, 3)]);
    assert_eq!(owners.iter().map(|owner| owner.session.0).collect::<Vec<_>>(), [1, 2, 1, 2, 1]);
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
    fn placement_never_makes_the_spread_wider(loads in proptest::collection::vec(0usize..20, 1..8), count in 0usize..60) {
        let candidates = loads.iter().enumerate().map(|(at, load)| candidate(at as u64 + 1, *load)).collect::<Vec<_>>();
        let owners = place(count, &candidates);
        proptest::prop_assert_eq!(owners.len(), count);
        let mut after = loads.clone();
        for owner in &owners {
            after[owner.session.0 as usize - 1] += 1;
        }
        let given = after.iter().zip(&loads).filter(|(after, before)| after > before).map(|(after, _)| *after);
        // Whoever got a region is at most one above whoever has the fewest.
        proptest::prop_assert!(given.max().unwrap_or(0) <= after.iter().min().copied().unwrap_or(0) + 1);
    }
}
