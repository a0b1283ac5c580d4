use serde::de::IntoDeserializer;
use serde::de::value::Error;

use super::*;

#[test]
fn any_value_of_a_reserved_field_is_refused_by_the_fields_name() {
    let text = ColumnMerge::deserialize(IntoDeserializer::<Error>::into_deserializer("sum")).expect_err("a value");
    assert!(text.to_string().contains("\"sum\"") && text.to_string().contains("'merge'"), "{text}");
    let number = Requirement::deserialize(IntoDeserializer::<Error>::into_deserializer(7u32)).expect_err("a value");
    assert!(number.to_string().contains("'requires' to be left out: a newer varve"), "{number}");
}
