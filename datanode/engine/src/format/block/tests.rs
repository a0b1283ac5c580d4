use proptest::prelude::*;
use varve_model::batch::{Bytes, Values, Vector};
use varve_model::id::ColumnId;
use varve_model::series::encode_key;

use super::*;
use crate::format::fixture;

fn key(host: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_key(&mut [(b"host", host.as_bytes())], &mut bytes);
    bytes
}

fn block(body: BlockBody) -> Block {
    let mut new_series = SeriesKeys::default();
    new_series.push(&key("a"));
    new_series.push(&key("b"));
    Block {
        region: RegionId(7 << 32 | 1),
        epoch: RegionEpoch(3),
        schema_version: SchemaVersion(2),
        first_seq: Sequence(100),
        tokens: vec![Token::new(5, 6)],
        first_new_series: SeriesId(9),
        new_series,
        body,
    }
}

fn rows() -> Block {
    let mut texts = Bytes::default();
    for text in [&b"idle"[..], b"", b"busy"] {
        texts.push(text);
    }
    let mut sparse = Vector::new(varve_model::schema::StoredType::I64);
    sparse.extend_null(2);
    sparse.push_from(&Vector { values: Values::I64(vec![-4]), validity: None }, 0);
    let field = |column, values| FieldColumn { column: ColumnId(column), vector: Vector { values, validity: None } };
    block(BlockBody::Rows {
        series: vec![9, 10, 3],
        ts: vec![1_700_000_000_000, 1_700_000_000_000, 1_600_000_000_000],
        fields: vec![
            field(2, Values::F64(vec![1.5, f64::NAN, f64::from_bits(0x7ff0_0000_0000_0002)])),
            FieldColumn { column: ColumnId(3), vector: sparse },
            field(4, Values::U64(vec![u64::MAX, 0, 1])),
            field(5, Values::Bool(vec![true, false, true])),
            field(6, Values::String(texts)),
        ],
    })
}

fn delete() -> Block {
    block(BlockBody::Delete { series: Some(vec![SeriesId(3), SeriesId(9)]), time: TimeRange { start: -5, end: 5 } })
}

fn bytes_of(block: &Block) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(block, &mut bytes);
    bytes
}

#[test]
fn blocks_survive_and_match_their_fixtures() {
    let all = block(BlockBody::Delete { series: None, time: TimeRange::ALL });
    for (name, block) in [("rows", rows()), ("delete", delete()), ("delete-all", all)] {
        let bytes = bytes_of(&block);
        assert_eq!(decode(&bytes).unwrap(), block);
        let head = head(&bytes).unwrap();
        assert_eq!((head.len as usize, head.last_seq()), (bytes.len(), block.last_seq()));
        fixture::check("wal-block", name, &bytes);
    }
}

#[test]
fn a_flipped_bit_anywhere_is_found() {
    let bytes = bytes_of(&rows());
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&damaged).is_err(), "bit {bit}");
    }
}

#[test]
fn a_small_integer_row_takes_about_ten_bytes() {
    let rows = 10_000u32;
    let field = |column: u32| FieldColumn {
        column: ColumnId(column),
        vector: Vector {
            values: Values::I64(
                (0..rows).map(|row| i64::from(row.wrapping_mul(2_654_435_761 + column) >> 16) % 101).collect(),
            ),
            validity: None,
        },
    };
    let block = Block {
        tokens: Vec::new(),
        new_series: SeriesKeys::default(),
        ..block(BlockBody::Rows {
            series: (0..rows).map(|row| row % 4000).collect(),
            ts: (0..rows).map(|row| i64::from(row / 4000) * 10_000_000_000).collect(),
            fields: (0..10).map(field).collect(),
        })
    };
    assert!(bytes_of(&block).len() < 10 * rows as usize);
}

#[test]
fn reserved_bytes_and_unknown_versions_are_refused_though_the_checksum_holds() {
    // Version, kind, reserved, reserved: first and last byte.
    for at in [4, 5, 6, 7, 72, 79] {
        let mut bytes = bytes_of(&rows());
        bytes[at] = bytes[at].wrapping_add(2);
        let body = bytes.len() - 4;
        let crc = crate::format::checksum::crc32c(&bytes[..body]);
        bytes[body..].copy_from_slice(&crc.to_le_bytes());
        assert!(head(&bytes).is_err() && decode(&bytes).is_err(), "byte {at}");
    }
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(at in 0usize..400, noise in prop::collection::vec(any::<u8>(), 1..60)) {
        // Checksums are set right, so that the code behind them is reached.
        for source in [rows(), delete()] {
            let mut bytes = bytes_of(&source);
            let at = at % bytes.len();
            let end = bytes.len().min(at + noise.len());
            bytes[at..end].copy_from_slice(&noise[..end - at]);
            let body = bytes.len() - 4;
            let crc = crate::format::checksum::crc32c(&bytes[..body]);
            bytes[body..].copy_from_slice(&crc.to_le_bytes());
            let _ = decode(&bytes);
        }
        let _ = decode(&noise);
    }
}
