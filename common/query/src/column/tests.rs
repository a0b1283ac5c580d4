use super::*;
use varve_model::schema::NewColumn;

#[test]
fn json_carries_its_type_in_metadata_and_tags_are_views() {
    let schema = Schema::create(
        vec![
            NewColumn::tag("host"),
            NewColumn::time("ts", TimeUnit::Millisecond),
            NewColumn::field("j", LogicalType::Json),
            NewColumn::field("d", LogicalType::Date),
        ],
        &[],
    )
    .unwrap();
    let table = ScanTable::new("t", &schema);
    let arrow = table.schema(&[0, 1, 2, 3]);
    assert_eq!(arrow.field(0).data_type(), &DataType::Utf8View);
    assert_eq!(arrow.field(1).data_type(), &DataType::Timestamp(ArrowUnit::Millisecond, None));
    assert!(!arrow.field(1).is_nullable());
    assert_eq!(arrow.field(2).metadata()[LOGICAL_TYPE_KEY], "json");
    assert_eq!(arrow.field(3).data_type(), &DataType::Date32);
    assert_eq!(table.columns[3].stored_type(), DataType::Int64);
}
