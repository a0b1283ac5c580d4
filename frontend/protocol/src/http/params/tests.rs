use varve_model::id::process::CancelScope;

use super::*;
use crate::tests::mock::{Answer, Server, soon};

#[tokio::test]
async fn a_form_is_charged_for_as_long_as_its_parameters_are_used() {
    let server = Server::start().await;
    let text = "x".repeat(100 << 10);
    server.mock.answer(&text, Answer::Never);
    let form = format!("sql={text}");
    let meanwhile = async {
        server.mock.begun.notified().await;
        let bytes = server.memory.bytes();
        server.mock.kill(server.mock.running().id, CancelScope::Statement);
        bytes
    };
    let (reply, bytes) = tokio::join!(server.form("/v1/sql", &form), meanwhile);
    assert!(reply.status >= 400, "{}", reply.text());
    assert!((100 << 10..210 << 10).contains(&bytes), "{bytes}");
    assert!(soon(|| server.memory.bytes() == 0).await, "{}", server.memory.bytes());
}

#[tokio::test]
async fn a_form_without_room_is_refused_and_leaves_nothing() {
    let server = Server::with(200 << 10).await;
    let form = |bytes: usize| format!("sql={}", "x".repeat(bytes));
    // The body fits, and its text beside it does not.
    let full = server.memory.charge(100 << 10).expect("room");
    let reply = server.form("/v1/sql", &form(60 << 10)).await;
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert!(reply.text().contains("memory account"), "{}", reply.text());
    drop(full);
    let reply = server.form("/v1/sql", &form(110 << 10)).await;
    assert_eq!(reply.status, 413, "it never fits: {}", reply.text());
    assert!(soon(|| server.memory.bytes() == 0).await, "{}", server.memory.bytes());
}

#[tokio::test]
async fn a_form_of_very_many_parameters_is_refused() {
    let server = Server::start().await;
    let reply = server.form("/v1/sql", &"a&".repeat(PAIRS_MAX)).await;
    assert!(reply.text().contains("more than 1000 parameters"), "{}", reply.text());
    assert!(soon(|| server.memory.bytes() == 0).await, "{}", server.memory.bytes());
}

#[tokio::test]
async fn no_form_takes_more_than_is_charged_before_it_is_decoded() {
    for form in ["a=b&c=%41+d", "", "&&&", "=", "a=\u{e4}", "a=%ff%ff"] {
        check(form.as_bytes()).await;
    }
    check(b"a=\xff\xff\xff").await;
}

async fn check(form: &[u8]) {
    let bytes_max = decoded_bytes_max(form).expect("few");
    let pairs = decode(Bytes::copy_from_slice(form)).await.expect("a form");
    let bytes = pairs.iter().map(|(name, value)| size_of::<Pair>() + name.len() + value.len()).sum::<usize>();
    assert!(bytes <= bytes_max, "{form:?}: {bytes} of {bytes_max}");
}
