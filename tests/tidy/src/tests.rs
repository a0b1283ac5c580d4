use super::*;

#[test]
fn the_house_is_tidy() {
    let complaints = complaints(&top(), false);
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn rooms_that_are_used_upwards_are_found() {
    let source = tree::Source {
        path: "common/model/src/id.rs".to_owned(),
        text: "//! x\nuse crate::batch::RegionBatch;\n".to_owned(),
    };
    let mut complaints = Vec::new();
    layers::check(&top(), &[source], &mut complaints);
    assert!(complaints.iter().any(|line| line.contains("'id' uses 'batch'")), "{complaints:?}");
}
