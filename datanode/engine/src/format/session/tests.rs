use super::*;
use crate::format::fixture;

#[test]
fn sessions_survive_and_match_their_fixtures() {
    let session = Session {
        node_epoch: NodeEpoch(5),
        nonce: Nonce(u128::MAX - 1),
        cluster: ClusterId(1 << 100),
        lanes: 4,
        volume: None,
    };
    for (name, session) in [("object-log", session), ("local-log", Session { volume: Some(VolumeId(3)), ..session })] {
        assert_eq!(Session::decode(&session.encode()).unwrap(), session);
        fixture::check("session", name, &session.encode());
    }
}
