use proptest::prelude::*;

use super::*;
use crate::format::fixture;

fn header() -> SegmentHeader {
    SegmentHeader {
        session: NodeEpoch(4),
        lane: 0,
        seq: 2,
        volume: VolumeId(0x1234_5678),
        first_record: 17,
        previous_crc: 0xdead_beef,
    }
}

fn entry() -> IndexEntry {
    IndexEntry {
        region: RegionId(1 << 32),
        epoch: RegionEpoch(2),
        offset: 96,
        len: 500,
        first_seq: Sequence(11),
        rows: 10,
        time: TimeRange { start: -1, end: 9 },
        new_series: 1,
        crc32c: 77,
    }
}

fn record(kind: RecordKind, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; RECORD];
    bytes.extend_from_slice(body);
    seal_record(&mut bytes, kind, NodeEpoch(4), 17, 5);
    bytes
}

#[test]
fn segments_survive_and_match_their_fixture() {
    let mut bytes = header().encode().to_vec();
    let footer = record(RecordKind::Footer, &encode_footer(&[entry()]));
    bytes.extend_from_slice(&footer);
    fixture::check("local-segment", "footer-only", &bytes);
    assert_eq!(SegmentHeader::decode(&bytes).unwrap(), header());
    let (head, body) = take_record(&bytes[HEADER..]).unwrap();
    assert_eq!((head.kind, head.session, head.record, head.previous_crc), (RecordKind::Footer, NodeEpoch(4), 17, 5));
    assert_eq!(decode_footer(body).unwrap(), vec![entry()]);
}

#[test]
fn a_flipped_bit_anywhere_is_found() {
    let header = header().encode();
    for bit in 0..HEADER * 8 {
        let mut damaged = header;
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(SegmentHeader::decode(&damaged).is_err(), "bit {bit}");
    }
    let record = record(RecordKind::Group, b"some blocks");
    for bit in 0..record.len() * 8 {
        let mut damaged = record.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(take_record(&damaged).is_err(), "bit {bit}");
    }
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = SegmentHeader::decode(&bytes);
        let _ = take_record(&bytes);
        let _ = decode_footer(&bytes);
    }
}
