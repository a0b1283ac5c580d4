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
