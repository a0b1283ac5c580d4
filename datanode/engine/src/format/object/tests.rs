use proptest::prelude::*;
use varve_model::id::{RegionEpoch, RegionId, Sequence};
use varve_model::time::TimeRange;

use super::*;
use crate::format::fixture;

fn header(kind: ObjectKind) -> ObjectHeader {
    ObjectHeader { kind, session: NodeEpoch(3), lane: 1, seq: 7, nonce: Nonce(0x99), previous: 0x77 }
}

fn data() -> Vec<u8> {
    let entry = IndexEntry {
        region: RegionId(1 << 32),
        epoch: RegionEpoch(2),
        offset: 0,
        len: 12,
        first_seq: Sequence(1),
        rows: 2,
        time: TimeRange { start: 1, end: 2 },
        new_series: 1,
        crc32c: 5,
    };
    encode(&header(ObjectKind::Data), b"twelve bytes", &[entry])
}

#[test]
fn objects_survive_and_match_their_fixtures() {
    let (read, entries) = decode(&data()).unwrap();
    assert_eq!(read, header(ObjectKind::Data));
    assert_eq!(&data()[entries[0].offset as usize..][..12], b"twelve bytes");
    fixture::check("wal-object", "data", &data());
    let kind = ObjectKind::Seal { sealer: NodeEpoch(9) };
    let seal = encode(&header(kind), &[], &[]);
    assert_eq!(decode(&seal).unwrap(), (header(kind), vec![]));
    fixture::check("wal-object", "seal", &seal);
}

#[test]
fn a_flipped_bit_anywhere_is_found() {
    let bytes = data();
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&damaged).is_err(), "bit {bit}");
    }
    for len in 0..bytes.len() {
        assert!(decode(&bytes[..len]).is_err());
    }
}

#[test]
fn reserved_bytes_and_unknown_versions_are_refused_though_the_checksums_hold() {
    let whole = data();
    let trailer = whole.len() - TRAILER;
    for at in [4, 5, 6, 64, 75, trailer + 12, trailer + 15] {
        let mut bytes = whole.clone();
        bytes[at] = bytes[at].wrapping_add(2);
        let crc = crc32c(&bytes[..HEADER - 4]);
        bytes[HEADER - 4..HEADER].copy_from_slice(&crc.to_le_bytes());
        let crc = crc32c(&bytes[..trailer + 16]);
        bytes[trailer + 16..trailer + 20].copy_from_slice(&crc.to_le_bytes());
        assert!(decode(&bytes).is_err(), "byte {at}");
    }
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes);
        let _ = ObjectHeader::decode(&bytes);
    }
}
