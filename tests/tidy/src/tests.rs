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

#[test]
fn a_client_that_nobody_agreed_to_is_found() {
    let of = |path: &str, text: &str| {
        let source = tree::Source { path: path.to_owned(), text: text.to_owned() };
        let mut complaints = Vec::new();
        calls::check(&top(), &[source], &mut complaints);
        complaints.join("\n")
    };
    let text = "let client = DatanodeClient::new(address)?;";
    assert!(of("src/role/metasrv.rs", text).contains("metasrv calls Some({\"datanode\"})"));
    assert!(of("metasrv/src/service.rs", text).contains("makes a client"));
    assert!(!of("src/standalone.rs", text).contains("makes a client"));
    assert!(of("src/role/frontend.rs", text).contains("frontend calls"), "an edge that is not there any more");
}
