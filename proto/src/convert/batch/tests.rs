use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

const ROWS: usize = 70;

fn vector(stored: StoredType, seed: u64) -> Vector {
    let mut vector = Vector::new(stored);
    for row in 0..ROWS as u64 {
        let word = seed.wrapping_mul(row + 1).rotate_left(row as u32);
        if word.is_multiple_of(5) && seed.is_multiple_of(2) {
            vector.extend_null(1);
            continue;
        }
        match &mut vector.values {
            Values::F64(values) => values.push(f64::from_bits(word)),
            Values::I64(values) => values.push(word as i64),
            Values::U64(values) => values.push(word),
            Values::Bool(values) => values.push(word % 2 == 1),
            Values::String(values) | Values::Json(values) => values.push(format!("\"ü{word}\"").as_bytes()),
            Values::Binary(values) => values.push(&word.to_le_bytes()[..(word % 9) as usize]),
        }
        vector.mark_valid();
    }
    vector
}

fn batch(seed: u64) -> RegionBatch {
    let mut keys = SeriesKeys::default();
    keys.push(b"\x01a\x01b");
    keys.push(b"");
    keys.push(b"\x01a\x01c\x01z\x00");
    let fields = TYPES.iter().enumerate().map(|(at, stored)| FieldColumn {
        column: ColumnId(at as u32 * 3 + 1),
        vector: vector(*stored, seed.wrapping_add(at as u64)),
    });
    RegionBatch {
        region: RegionId(seed),
        epoch: RegionEpoch(3),
        schema_version: SchemaVersion(9),
        keys,
        series: (0..ROWS as u32).map(|row| row % 3).collect(),
        ts: (0..ROWS as i64).map(|row| row.wrapping_mul(seed as i64)).collect(),
        fields: fields.collect(),
        tokens: vec![Token::new(u128::from(seed), 1), Token([7; 16])],
    }
}

#[test]
fn an_empty_batch_travels() {
    let empty = RegionBatch {
        keys: SeriesKeys::default(),
        series: vec![],
        ts: vec![],
        fields: vec![],
        tokens: vec![],
        ..batch(1)
    };
    assert_eq!(decode(&encode(&empty)).expect("decode"), empty);
}

#[test]
fn the_bytes_of_a_batch_are_frozen() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/compat/v1/rpc/batch.bin");
    let bytes = encode(&batch(0x5eed));
    // Written once, when the format was made; never rewritten.
    if !path.exists() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
        std::fs::write(&path, &bytes).expect("write");
    }
    assert_eq!(std::fs::read(&path).expect("fixture"), bytes);
}

#[test]
fn another_version_is_refused_by_name() {
    let mut bytes = encode(&batch(1));
    bytes[2] = 9;
    let error = decode(&bytes).expect_err("version 9");
    assert_eq!(error.reason(), Reason::Unsupported);
    assert!(error.message().contains("version 9"), "{error}");
}

#[test]
fn a_batch_that_is_cut_anywhere_is_refused() {
    let bytes = encode(&batch(4));
    for len in 0..bytes.len() {
        decode(&bytes[..len]).expect_err("cut");
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    decode(&longer).expect_err("longer");
}

#[test]
fn lengths_beyond_the_bytes_cost_nothing() {
    let mut bytes = encode(&RegionBatch { tokens: vec![], ..batch(1) });
    bytes[23..27].copy_from_slice(&u32::MAX.to_le_bytes());
    decode(&bytes).expect_err("4 G tokens");
}

proptest! {
    #[test]
    fn a_batch_comes_back_as_it_was(seed in any::<u64>()) {
        let batch = batch(seed);
        prop_assert_eq!(decode(&encode(&batch)).expect("decode"), batch);
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn flipped_bits_never_panic_and_what_is_read_is_checked(seed in any::<u64>(), at in any::<proptest::sample::Index>()) {
        let mut bytes = encode(&batch(seed));
        let bit = at.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(batch) = decode(&bytes) {
            batch.check().expect("checked");
        }
    }
}
