//! What connections are charged with, and what clients see of a full account.

use super::*;

/// More than an idle connection is charged with.
const STANDING_BYTES_MAX: u64 = 64 << 10;

fn parse(name: &str, sql: &str) -> Vec<u8> {
    packet(b'P', format!("{name}\0{sql}\0\0\0").as_bytes())
}

/// Binds one value in text.
fn bind(portal: &str, statement: &str, value: &str) -> Vec<u8> {
    let mut body = format!("{portal}\0{statement}\0\0\0\0\x01").into_bytes();
    body.extend_from_slice(&(value.len() as i32).to_be_bytes());
    body.extend_from_slice(value.as_bytes());
    body.extend_from_slice(&[0, 0]);
    packet(b'B', &body)
}

fn sync() -> Vec<u8> {
    packet(b'S', b"")
}

fn query(text: &str) -> Vec<u8> {
    packet(b'Q', format!("{text}\0").as_bytes())
}

impl Server {
    /// Whether all of the connections' memory is given back.
    async fn is_free(&self) -> bool {
        soon(|| self.memory.bytes() == 0).await
    }

    /// Whether connections are charged as idle ones are. A message may still be ending when its answer is here.
    async fn is_idle(&self) -> bool {
        soon(|| self.memory.bytes() < STANDING_BYTES_MAX).await
    }
}

#[tokio::test]
async fn a_message_without_room_is_refused_and_the_connection_lives_on() {
    let server = Server::with(1 << 20).await;
    server.mock.answer("good", Answer::Batches(vec![numbers(1)]));
    server.mock.params.lock().insert("i".to_owned(), vec![Some(DataType::Utf8)]);
    let mut raw = server.started().await;
    raw.send(&query(&"x".repeat(600 << 10))).await;
    let answer = raw.until(b'Z').await;
    assert_eq!(kinds(&answer), "EZ");
    assert_eq!(state(&answer[0].1), "54000", "it never finds room");
    let full = server.memory.charge(800 << 10).expect("room");
    let large = "x".repeat(150 << 10);
    raw.send(&query(&large)).await;
    let answer = raw.until(b'Z').await;
    assert_eq!(kinds(&answer), "EZ");
    assert_eq!(state(&answer[0].1), "53000");
    // What follows it is skipped up to Sync, as after every error.
    raw.send(&[parse("", "i"), bind("", "", &large), packet(b'E', b"\0\0\0\0\0"), sync()].concat()).await;
    let answer = raw.until(b'Z').await;
    assert_eq!(kinds(&answer), "1EZ");
    assert_eq!(state(&answer[1].1), "53000");
    drop(full);
    // What has no meaning is no error, however long it is.
    raw.send(&[packet(b'd', large.repeat(10).as_bytes()), query("good")].concat()).await;
    assert_eq!(kinds(&raw.until(b'Z').await), "TDCZ");
    assert!(server.is_idle().await, "{}", server.memory.bytes());
    drop(raw);
    assert!(server.is_free().await);
}

#[tokio::test]
async fn a_message_is_charged_from_its_announcement_until_its_statement_has_ended() {
    let server = Server::start().await;
    let large = "x".repeat(100 << 10);
    server.mock.answer(&large, Answer::Never);
    let mut raw = server.started().await;
    let message = query(&large);
    raw.send(&message[..10]).await;
    assert!(soon(|| server.memory.bytes() > 200 << 10).await, "{}", server.memory.bytes());
    raw.send(&message[10..]).await;
    server.mock.begun.notified().await;
    assert!(server.memory.bytes() > 200 << 10, "{}", server.memory.bytes());
    server.mock.kill(server.mock.running().id, CancelScope::Statement);
    raw.until(b'Z').await;
    assert!(server.is_idle().await, "{}", server.memory.bytes());
    // A client that goes in the middle of a message leaves nothing either.
    raw.send(&message[..1000]).await;
    assert!(soon(|| server.memory.bytes() > 200 << 10).await, "{}", server.memory.bytes());
    drop(raw);
    assert!(server.is_free().await);
}

#[tokio::test]
async fn a_client_that_stops_in_the_middle_of_a_large_message_is_given_up() {
    let server = Server::start().await;
    let mut raw = server.started().await;
    raw.send(&query(&"x".repeat(100 << 10))[..1000]).await;
    assert!(soon(|| server.memory.bytes() > 200 << 10).await);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(31)).await;
    assert!(server.is_free().await);
}

#[tokio::test]
async fn prepared_statements_are_charged_for_as_long_as_they_are_held() {
    let server = Server::with(256 << 10).await;
    let mut raw = server.started().await;
    let sql = "x".repeat(10 << 10);
    let mut held = 0;
    let refused = loop {
        raw.send(&[parse(&format!("s{held}"), &sql), sync()].concat()).await;
        let answer = raw.until(b'Z').await;
        if answer[0].0 == b'E' {
            break state(&answer[0].1);
        }
        held += 1;
    };
    assert_eq!(refused, "53000");
    assert!((10..26).contains(&held), "{held}");
    // The room of the inbox may have grown by as much as one holds, three times.
    let close = (0..5).flat_map(|at| packet(b'C', format!("Ss{at}\0").as_bytes())).collect::<Vec<_>>();
    raw.send(&[close, parse("again", &sql), sync()].concat()).await;
    assert_eq!(kinds(&raw.until(b'Z').await), "333331Z");
    drop(raw);
    assert!(server.is_free().await);
}

#[tokio::test]
async fn portals_are_charged_with_their_values_and_with_rows_that_wait() {
    let server = Server::with(1 << 20).await;
    server.mock.params.lock().insert("i".to_owned(), vec![Some(DataType::Utf8)]);
    server.mock.answer("q", Answer::Batches(vec![numbers(8192)]));
    let mut raw = server.started().await;
    raw.send(&[parse("s", "i"), sync()].concat()).await;
    raw.until(b'Z').await;
    let value = "x".repeat(10 << 10);
    let binds = (0..200).flat_map(|at| bind(&format!("p{at}"), "s", &value)).chain(sync());
    raw.send(&binds.collect::<Vec<_>>()).await;
    let answer = raw.until(b'Z').await;
    let bound = answer.iter().filter(|(kind, _)| *kind == b'2').count();
    assert!((50..103).contains(&bound), "{bound}");
    assert_eq!(state(&answer[bound].1), "53000");
    assert!(server.is_idle().await, "{}", server.memory.bytes());
    let portion = [parse("", "q"), packet(b'B', b"\0\0\0\0\0\0\0\0"), packet(b'E', b"\0\0\0\0\x01"), packet(b'H', b"")];
    let before = server.memory.bytes();
    raw.send(&portion.concat()).await;
    assert_eq!(kinds(&raw.until(b's').await), "12Ds");
    assert!(server.memory.bytes() >= before + 8192 * 8, "{}", server.memory.bytes());
    raw.send(&sync()).await;
    raw.until(b'Z').await;
    assert!(server.memory.bytes() < before + 8192 * 8, "{}", server.memory.bytes());
    drop(raw);
    assert!(server.is_free().await);
}

#[tokio::test]
async fn many_answers_are_sent_before_the_client_asks_for_them() {
    let server = Server::start().await;
    let column =
        |at: usize| (format!("a long name of a column, number {at}"), Arc::new(Int64Array::from(vec![1])) as _);
    let wide = RecordBatch::try_from_iter((0..100).map(column)).expect("a batch");
    server.mock.answer("q", Answer::Batches(vec![wide]));
    let mut raw = server.started().await;
    let describe = packet(b'D', b"S\0");
    raw.send(&[parse("", "q"), describe.repeat(100)].concat()).await;
    assert_eq!(kinds(&raw.until(b'T').await), "1tT");
}

#[tokio::test]
async fn rows_that_nobody_reads_are_charged_and_only_so_many_are_encoded() {
    let server = Server::start().await;
    let text = StringArray::from(vec!["x".repeat(1 << 20); 8]);
    let batch = RecordBatch::try_from_iter([("t", Arc::new(text) as ArrayRef)]).expect("a batch");
    server.mock.answer("endless", Answer::Endless(batch));
    let mut raw = server.started().await;
    raw.send(&query("endless")).await;
    server.mock.until_stuck().await;
    let bytes = server.memory.bytes();
    assert!((1 << 20..4 << 20).contains(&bytes), "{bytes}");
    server.mock.kill(server.mock.running().id, CancelScope::Statement);
    raw.until(b'Z').await;
    assert!(server.is_idle().await, "{}", server.memory.bytes());
    drop(raw);
    assert!(server.is_free().await);
}

#[tokio::test]
async fn a_long_text_is_refused_without_being_copied_and_a_long_user_name_is_cut() {
    let server = Server::start().await;
    let mut raw = server.started().await;
    raw.send(&query(&"x".repeat((1 << 20) + 1))).await;
    let answer = raw.until(b'Z').await;
    assert_eq!((kinds(&answer).as_str(), state(&answer[0].1).as_str()), ("EZ", "54000"));
    server.mock.answer("q", Answer::Batches(vec![numbers(1)]));
    let mut raw = server.raw().await;
    raw.send(&startup_packet(196_608, &[("user", &"u".repeat(9000))])).await;
    raw.until(b'Z').await;
    raw.send(&query("q")).await;
    raw.until(b'Z').await;
    let (session, _) = server.mock.queries.lock().pop().expect("a query");
    assert_eq!(session.user.len(), 256);
}
