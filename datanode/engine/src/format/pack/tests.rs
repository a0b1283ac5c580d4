use proptest::prelude::*;

use super::*;

fn round_trip(values: &[i64]) -> (usize, usize) {
    let (mut deltas, mut references) = (Vec::new(), Vec::new());
    put_deltas(&mut deltas, values.iter().copied());
    put_references(&mut references, values.iter().copied());
    let mut read = Vec::new();
    let mut cursor = Cursor::new(&deltas, "test");
    take_deltas(&mut cursor, values.len(), |value| read.push(value)).unwrap();
    cursor.end().unwrap();
    assert_eq!(read, values);
    read.clear();
    let mut cursor = Cursor::new(&references, "test");
    take_references(&mut cursor, values.len(), |value| read.push(value)).unwrap();
    cursor.end().unwrap();
    assert_eq!(read, values);
    (deltas.len(), references.len())
}

#[test]
fn regular_values_take_almost_nothing() {
    let ids = (0..10_000).collect::<Vec<i64>>();
    assert!(round_trip(&ids).0 < 600);
    let small = (0..1024).map(|value| value * 37 % 100).collect::<Vec<i64>>();
    assert!(round_trip(&small).1 < 1024 * 7 / 8 + 16);
}

#[test]
fn ends_of_the_range_survive() {
    round_trip(&[i64::MIN, i64::MAX, 0, -1, i64::MIN, i64::MIN, i64::MAX]);
    round_trip(&[]);
}

proptest! {
    #[test]
    fn any_values_survive(values in prop::collection::vec(any::<i64>(), 0..3000), shift in 0u32..64) {
        round_trip(&values.iter().map(|value| value >> shift).collect::<Vec<_>>());
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), count in 0usize..5000) {
        let _ = take_deltas(&mut Cursor::new(&bytes, "test"), count, |_| {});
        let _ = take_references(&mut Cursor::new(&bytes, "test"), count, |_| {});
    }
}
