use super::*;
use crate::schema::StoredType;

#[test]
fn a_vector_has_validity_only_after_a_null() {
    let mut vector = Vector::new(StoredType::I64);
    let source = Vector { values: Values::I64(vec![7, 8]), validity: None };
    vector.push_from(&source, 1);
    assert!(vector.validity.is_none());
    vector.extend_null(2);
    vector.push_from(&source, 0);
    assert_eq!((0..4).map(|at| vector.is_valid(at)).collect::<Vec<_>>(), [true, false, false, true]);
    assert_eq!(vector.gather(&[3, 0]), Vector { values: Values::I64(vec![7, 8]), validity: None });
}

#[test]
fn bitmap_words_round_trip_and_stray_bits_are_refused() {
    let mut bitmap = Bitmap::filled(70, true);
    bitmap.extend(3, false);
    bitmap.push(true);
    assert_eq!(bitmap.count_ones(), 71);
    assert_eq!(Bitmap::from_words(bitmap.words().to_vec(), 74), Some(bitmap));
    assert_eq!(Bitmap::from_words(vec![0b100], 2), None);
    assert_eq!(Bitmap::from_words(vec![0, 0], 2), None);
}

#[test]
fn a_batch_from_the_wire_is_checked() {
    let mut keys = SeriesKeys::default();
    keys.push(b"\x01a\x01b");
    let good = RegionBatch {
        region: RegionId(1),
        epoch: RegionEpoch(1),
        schema_version: SchemaVersion(0),
        keys,
        series: vec![0, 0],
        ts: vec![5, -5],
        fields: vec![FieldColumn { column: ColumnId(3), vector: Vector::nulls(StoredType::F64, 2) }],
        tokens: vec![],
    };
    good.check().expect("good");
    assert_eq!(good.time_range(), TimeRange { start: -5, end: 5 });
    let mut bad = good.clone();
    bad.series[1] = 1;
    bad.check().expect_err("slot");
    let mut bad = good.clone();
    bad.fields[0].vector = Vector::nulls(StoredType::F64, 1);
    bad.check().expect_err("length");
}
