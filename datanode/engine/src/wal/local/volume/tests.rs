use super::*;
use crate::format::fixture;

#[test]
fn volume_files_survive_and_match_their_fixture() {
    let volume = Volume { id: VolumeId(7), cluster: Some(ClusterId(8)), sessions: vec![NodeEpoch(1), NodeEpoch(4)] };
    let bytes = framed::encode(VOLUME, &volume);
    assert_eq!(framed::decode::<Volume>(VOLUME, &bytes).unwrap(), volume);
    fixture::check("local-segment", "volume", &bytes);
}
