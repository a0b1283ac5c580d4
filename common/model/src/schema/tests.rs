use super::*;

fn cpu() -> Schema {
    Schema::create(
        vec![
            NewColumn::tag("host"),
            NewColumn::time("time", TimeUnit::Nanosecond),
            NewColumn::field("usage", LogicalType::Float64),
        ],
        &[],
    )
    .expect("valid")
}

#[test]
fn dropping_and_adding_the_same_name_gives_a_new_id() {
    let first = cpu();
    let old = first.column("usage").expect("usage").id;
    let dropped = first.drop_column("usage").expect("field");
    let again = dropped.add_columns(vec![NewColumn::field("usage", LogicalType::Float64)]).expect("new");
    assert_ne!(again.column("usage").expect("usage").id, old);
    assert_eq!(again.version, SchemaVersion(2));
}

#[test]
fn widening_by_known_columns_changes_nothing() {
    let schema = cpu();
    let same =
        schema.widen(vec![NewColumn::tag("host"), NewColumn::field("usage", LogicalType::Float64)]).expect("same");
    assert_eq!(same, schema);
}

#[test]
fn a_tag_never_becomes_a_field() {
    let error = cpu().widen(vec![NewColumn::field("host", LogicalType::String)]).expect_err("conflict");
    assert_eq!(error.reason(), Reason::TypeConflict);
}

#[test]
fn a_new_tag_is_appended_to_the_key() {
    let wider = cpu().add_columns(vec![NewColumn::tag("a")]).expect("tag");
    let names = wider.key_columns().map(|column| column.name.as_str()).collect::<Vec<_>>();
    assert_eq!(names, ["host", "a"]);
}

#[test]
fn two_time_indexes_and_none_are_refused() {
    assert!(Schema::create(vec![NewColumn::tag("a")], &[]).is_err());
    let two = vec![NewColumn::time("a", TimeUnit::Second), NewColumn::time("b", TimeUnit::Second)];
    assert!(Schema::create(two, &[]).is_err());
}

#[test]
fn reserved_names_are_refused() {
    assert!(cpu().add_columns(vec![NewColumn::field("__seq", LogicalType::Int64)]).is_err());
}
