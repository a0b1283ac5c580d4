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

#[test]
fn reserved_bytes_and_unknown_versions_are_refused_though_the_checksum_holds() {
    for at in [4, 5, 7, 52, 59] {
        let mut bytes = header().encode();
        bytes[at] = bytes[at].wrapping_add(2);
        let crc = crate::format::checksum::crc32c(&bytes[..HEADER - 4]);
        bytes[HEADER - 4..].copy_from_slice(&crc.to_le_bytes());
        assert!(SegmentHeader::decode(&bytes).is_err(), "byte {at} of the header");
    }
    for at in [12, 13, 15] {
        let mut bytes = record(RecordKind::Group, b"some blocks");
        bytes[at] = bytes[at].wrapping_add(2);
        let crc = record_crc(&bytes);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        assert!(take_record(&bytes).is_err(), "byte {at} of a record");
    }
    let footer = encode_footer(&[entry()]);
    for at in [footer.len() - 8, footer.len() - 1] {
        let mut bytes = footer.clone();
        bytes[at] = 1;
        assert!(decode_footer(&bytes).is_err(), "byte {at} of a footer");
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
