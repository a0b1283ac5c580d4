use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{Date32Array, Decimal128Array, DictionaryArray, Int32Array, ListArray, TimestampNanosecondArray};

use super::*;

fn one(field: Field, array: ArrayRef) -> (Column, Cells) {
    let column = Column::of(&field);
    let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![array]).expect("a batch");
    let mut cells = Cells::all(&batch, std::slice::from_ref(&column)).expect("cells");
    (column, cells.pop().expect("one column"))
}

#[test]
fn metadata_decides_before_the_arrow_type() {
    let field = |key: &str, data_type| {
        Field::new("c", data_type, true).with_metadata(HashMap::from([(LOGICAL_TYPE_KEY.to_owned(), key.to_owned())]))
    };
    let (column, cells) = one(field("int32", DataType::Int64), Arc::new(Int64Array::from(vec![7])));
    assert_eq!(column.kind, ColumnType::Logical(LogicalType::Int32));
    assert!(matches!(cells, Cells::I64(values) if values.value(0) == 7));
    assert_eq!(Column::of(&field("u_int8", DataType::UInt64)).kind, ColumnType::Logical(LogicalType::UInt8));
    assert_eq!(Column::of(&field("json", DataType::Utf8View)).kind, ColumnType::Logical(LogicalType::Json));
    assert_eq!(Column::of(&field("what", DataType::Utf8)).kind, ColumnType::Logical(LogicalType::String));
}

#[test]
fn every_layout_becomes_one_of_few_shapes() {
    let dictionary: DictionaryArray<Int32Type> = vec![Some("a"), None].into_iter().collect();
    let (column, cells) = one(Field::new("c", dictionary.data_type().clone(), true), Arc::new(dictionary));
    assert_eq!(column.kind, ColumnType::Logical(LogicalType::String));
    assert!(matches!(&cells, Cells::Text(values) if values.value(0) == "a"));
    assert!(cells.is_null(1));

    let zoned = TimestampNanosecondArray::from(vec![5]).with_timezone("UTC");
    let (column, cells) = one(Field::new("c", zoned.data_type().clone(), true), Arc::new(zoned));
    assert!(column.zoned);
    assert!(matches!(cells, Cells::I64(values) if values.value(0) == 5));

    let (_, cells) = one(Field::new("c", DataType::Date32, true), Arc::new(Date32Array::from(vec![-1])));
    assert!(matches!(cells, Cells::I64(values) if values.value(0) == -1));

    let decimal = Decimal128Array::from(vec![-12345]).with_precision_and_scale(10, 2).expect("fits");
    let (column, cells) = one(Field::new("c", decimal.data_type().clone(), true), Arc::new(decimal));
    assert_eq!(column.kind, ColumnType::Decimal { precision: 10, scale: 2 });
    assert!(matches!(cells, Cells::Text(values) if values.value(0) == "-123.45"));

    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), None])]);
    let (column, cells) = one(Field::new("c", list.data_type().clone(), true), Arc::new(list));
    assert_eq!(column.kind, ColumnType::Other);
    assert!(matches!(cells, Cells::Text(values) if values.value(0) == "[1, ]"));

    let (column, cells) = one(Field::new("c", DataType::Int32, true), Arc::new(Int32Array::from(vec![1])));
    assert_eq!(column.kind, ColumnType::Logical(LogicalType::Int32));
    assert!(matches!(cells, Cells::I64(_)));
}
