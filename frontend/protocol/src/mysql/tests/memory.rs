//! What connections are charged with, and what clients see of a full account.

use super::*;

/// More than an idle connection is charged with.
const STANDING_BYTES_MAX: u64 = 64 << 10;

impl Server {
    /// Whether all of the connections' memory is given back.
    async fn is_free(&self) -> bool {
        soon(|| self.memory.bytes() == 0).await
    }

    /// Whether connections are charged as idle ones are. A command may still be ending when its answer is here.
    async fn is_idle(&self) -> bool {
        soon(|| self.memory.bytes() < STANDING_BYTES_MAX).await
    }
}

async fn send_long(raw: &mut Raw, statement: u32, data: &[u8]) {
    raw.next = 0;
    raw.send(&[&[0x18][..], &statement.to_le_bytes(), &[0, 0], data].concat()).await;
}

#[tokio::test]
async fn a_packet_without_room_is_refused_and_the_connection_lives_on() {
    let server = Server::with(256 << 10).await;
    server.mock.answer("good", Answer::Batches(vec![numbers(1)]));
    let mut raw = server.client().await;
    for (full, bytes, refused) in [(100 << 10, 100 << 10, 1041), (0, 200 << 10, 1153), (0, 17 << 20, 1153)] {
        let full = server.memory.charge(full).expect("room");
        assert_eq!(code(&raw.ask(3, &vec![b'x'; bytes]).await), (refused, "HY000".to_owned()));
        drop(full);
        assert_eq!(raw.query("good").await.1.len(), 1);
    }
    assert!(server.is_idle().await, "{}", server.memory.bytes());
    drop(raw);
    assert!(server.is_free().await);
}

#[tokio::test]
async fn each_part_of_a_packet_is_charged_before_it_is_read() {
    let server = Server::with(64 << 20).await;
    let mut raw = server.client().await;
    // Room for the first part, and not for the second.
    let full = server.memory.charge(24 << 20).expect("room");
    assert_eq!(code(&raw.ask(3, &vec![b'x'; 30 << 20]).await).0, 1041);
    drop(full);
    assert_eq!(raw.ask(0x0e, b"").await[0], 0);
    assert!(server.is_idle().await, "{}", server.memory.bytes());
    // Both fit: the text is too long for SQL then.
    assert_eq!(code(&raw.ask(3, &vec![b'x'; 18 << 20]).await).0, 1153);
    assert_eq!(raw.ask(0x0e, b"").await[0], 0);
    assert!(server.is_idle().await, "{}", server.memory.bytes());
}

#[tokio::test]
async fn a_packet_is_charged_from_its_announcement_until_its_statement_has_ended() {
    let server = Server::start().await;
    let large = "x".repeat(100 << 10);
    server.mock.answer(&large, Answer::Never);
    let mut raw = server.client().await;
    let packet = [&((large.len() + 1) as u32).to_le_bytes(), &b"\x03"[..], large.as_bytes()].concat();
    raw.stream.write_all(&packet[..10]).await.expect("sent");
    assert!(soon(|| server.memory.bytes() > 200 << 10).await, "{}", server.memory.bytes());
    raw.stream.write_all(&packet[10..]).await.expect("sent");
    server.mock.begun.notified().await;
    assert!(server.memory.bytes() > 200 << 10, "{}", server.memory.bytes());
    server.mock.kill(server.mock.running().id, CancelScope::Statement);
    raw.next = 1;
    assert_eq!(code(&raw.packet().await.expect("an answer")).0, 1317);
    assert!(server.is_idle().await, "{}", server.memory.bytes());
    // A client that goes in the middle of a packet leaves nothing either.
    raw.stream.write_all(&packet[..1000]).await.expect("sent");
    assert!(soon(|| server.memory.bytes() > 200 << 10).await, "{}", server.memory.bytes());
    drop(raw);
    assert!(server.is_free().await);
}

#[tokio::test]
async fn long_data_without_room_is_told_at_the_execution() {
    let server = Server::with(256 << 10).await;
    server.mock.answer("i", Answer::Count("INSERT", 1));
    server.mock.params.lock().insert("i".to_owned(), vec![Some(DataType::Utf8)]);
    let mut raw = server.client().await;
    let (insert, ..) = prepare(&mut raw, "i").await;
    let values = [0, 1, 0xfd, 0];
    // One piece that never finds room, and pieces of which the last finds none.
    for (pieces, bytes, refused) in [(1, 200 << 10, 1153), (20, 10 << 10, 1041)] {
        for _ in 0..pieces {
            send_long(&mut raw, insert, &vec![b'x'; bytes]).await;
        }
        assert_eq!(code(&raw.ask(0x17, &execution(insert, &values)).await), (refused, "HY000".to_owned()));
        assert!(server.is_idle().await, "{}", server.memory.bytes());
    }
    for _ in 0..5 {
        send_long(&mut raw, insert, &vec![b'x'; 10 << 10]).await;
    }
    assert!(soon(|| server.memory.bytes() > 100 << 10).await, "{}", server.memory.bytes());
    assert_eq!(raw.ask(0x17, &execution(insert, &values)).await[..2], [0, 1]);
    let value = Value::String("x".repeat(50 << 10));
    assert_eq!(server.last_query(), Query::Sql { text: "i".to_owned(), params: vec![value] });
    assert!(server.is_idle().await, "{}", server.memory.bytes());
    drop(raw);
    assert!(server.is_free().await);
}

#[tokio::test]
async fn prepared_statements_are_charged_for_as_long_as_they_are_held() {
    let server = Server::with(256 << 10).await;
    let mut raw = server.client().await;
    let sql = [&b"\x16"[..], &[b'x'; 10 << 10]].concat();
    let mut held = 0;
    let refused = loop {
        let answer = raw.ask(sql[0], &sql[1..]).await;
        if answer[0] == 0xff {
            break code(&answer);
        }
        held += 1;
    };
    assert_eq!(refused, (1041, "HY000".to_owned()));
    assert!((10..26).contains(&held), "{held}");
    raw.next = 0;
    raw.send(&[0x19, 1, 0, 0, 0]).await;
    assert_eq!(raw.ask(sql[0], &sql[1..]).await[0], 0);
    // Resetting the connection closes them all.
    assert_eq!(raw.ask(0x1f, b"").await[0], 0);
    assert!(server.is_idle().await, "{}", server.memory.bytes());
    drop(raw);
    assert!(server.is_free().await);
}

#[tokio::test]
async fn rows_that_nobody_reads_are_charged_and_only_so_many_are_encoded() {
    let server = Server::start().await;
    let text = StringArray::from(vec!["x".repeat(1 << 20); 8]);
    let batch = RecordBatch::try_from_iter([("t", Arc::new(text) as ArrayRef)]).expect("a batch");
    server.mock.answer("endless", Answer::Endless(batch));
    let mut raw = server.client().await;
    raw.next = 0;
    raw.send(b"\x03endless").await;
    server.mock.until_stuck().await;
    let bytes = server.memory.bytes();
    assert!((1 << 20..4 << 20).contains(&bytes), "{bytes}");
    server.mock.kill(server.mock.running().id, CancelScope::Statement);
    while raw.packet().await.expect("rows and an error")[0] != 0xff {}
    assert!(server.is_idle().await, "{}", server.memory.bytes());
    drop(raw);
    assert!(server.is_free().await);
}

#[tokio::test]
async fn answers_without_rows_are_sent_before_the_last_of_them() {
    let server = Server::start().await;
    let column =
        |at: usize| (format!("a long name of a column, number {at}"), Arc::new(Int64Array::from(vec![1; 0])) as _);
    let wide = RecordBatch::try_from_iter((0..1000).map(column)).expect("a batch");
    server.mock.answer("many", Answer::Many(vec![Answer::Batches(vec![wide]); 200]));
    let mut raw = server.client().await;
    raw.next = 0;
    raw.send(b"\x03many").await;
    // Far less than the answers, 15 MiB: the rest waits for the client.
    assert!(soon(|| server.memory.bytes() > 64 << 10).await, "{}", server.memory.bytes());
    for _ in 0..1000 {
        tokio::task::yield_now().await;
        assert!(server.memory.bytes() < 1 << 20, "{}", server.memory.bytes());
    }
}

#[tokio::test]
async fn a_long_user_name_is_cut() {
    let server = Server::start().await;
    server.mock.answer("q", Answer::Batches(vec![numbers(1)]));
    let mut raw = server.client().await;
    let mut change = vec![b'u'; 9000];
    change.put_slice(b"\0\x14");
    change.put_bytes(7, 20);
    change.put_u8(0);
    assert_eq!(raw.ask(0x11, &change).await[0], 0);
    raw.query("q").await;
    assert_eq!(server.mock.queries.lock().pop().expect("a query").0.user.len(), 256);
}
