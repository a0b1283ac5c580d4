use proptest::prelude::*;

use super::*;

fn round_trip(values: Values) -> usize {
    let rows = values.len();
    let field = FieldColumn { column: ColumnId(7), vector: Vector { values, validity: None } };
    let mut bytes = Vec::new();
    put(&mut bytes, &field);
    let mut cursor = Cursor::new(&bytes, "test");
    assert_eq!(take(&mut cursor, rows).unwrap(), field);
    cursor.end().unwrap();
    bytes.len()
}

#[test]
fn decimals_are_packed_and_odd_values_are_exceptions() {
    let mut values = (0..1000).map(|k| f64::from(k % 100) / 10.0).collect::<Vec<_>>();
    values[17] = f64::from_bits(0x7ff0_0000_0000_0002);
    values[18] = -0.0;
    assert!(round_trip(Values::F64(values)) < 1400);
}

#[test]
fn texts_survive() {
    let mut texts = Bytes::default();
    for row in 0..100 {
        texts.push(format!("state {}", row % 3).as_bytes());
    }
    texts.push(b"");
    assert!(round_trip(Values::String(texts.clone())) < texts.data.len());
    texts.push(&[0xff, 0xfe]);
    round_trip(Values::Binary(texts));
}

proptest! {
    #[test]
    fn float_bits_survive(bits in prop::collection::vec(any::<u64>(), 0..200), decimals in prop::collection::vec(-1_000_000i32..1_000_000, 0..200)) {
        round_trip(Values::F64(bits.iter().map(|bits| f64::from_bits(*bits)).collect()));
        round_trip(Values::F64(decimals.iter().map(|k| f64::from(*k) / 1000.0).collect()));
        round_trip(Values::F64(bits.iter().take(3).map(|bits| f64::from_bits(*bits)).chain(decimals.iter().map(|k| f64::from(*k))).collect()));
    }

    #[test]
    fn other_types_survive(values in prop::collection::vec(any::<u64>(), 0..300)) {
        round_trip(Values::U64(values.clone()));
        round_trip(Values::I64(values.iter().map(|value| *value as i64 >> 40).collect()));
        round_trip(Values::Bool(values.iter().map(|value| value & 1 == 1).collect()));
    }

    #[test]
    fn hostile_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 6..300), rows in 0usize..100_000, code in 0u8..9) {
        bytes[4] = code;
        bytes[5] &= 1;
        let _ = take(&mut Cursor::new(&bytes, "test"), rows);
    }
}
