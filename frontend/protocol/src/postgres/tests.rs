mod memory;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int16Array,
    Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, TimestampNanosecondArray, UInt64Array,
};
use arrow_schema::{DataType, Field, Schema};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use varve_model::id::process::CancelScope;
use varve_model::value::Value;
use varve_model::{ErrorKind, Reason};
use varve_service::task::Blocking;

use super::kind::Format;
use super::*;
use crate::gateway::Query;
use crate::output::column::{Cells, Column};
use crate::output::{LOGICAL_TYPE_KEY, SessionChange};
use crate::process::Verdict;
use crate::tests::mock::{Answer, Mock, mebibyte, soon};

struct Server {
    mock: Arc<Mock>,
    addr: SocketAddr,
    tasks: TaskSet,
    memory: Account,
}

impl Server {
    async fn start() -> Self {
        Self::with(1 << 30).await
    }

    /// A server whose memory account takes so many bytes.
    async fn with(memory_bytes: u64) -> Self {
        let memory = Account::root("test requests", memory_bytes);
        let mock = Arc::new(Mock::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let tasks = TaskSet::new(Blocking::Threads);
        serve(listener, mock.clone(), memory.clone(), tasks.clone());
        mock.answer("SHOW DATABASES", databases());
        mock.answer("BEGIN", Answer::Count("BEGIN", 0));
        mock.answer("START TRANSACTION", Answer::Count("BEGIN", 0));
        mock.answer("COMMIT", Answer::Count("COMMIT", 0));
        mock.answer("ROLLBACK", Answer::Count("ROLLBACK", 0));
        Self { mock, addr, tasks, memory }
    }

    async fn connect(&self, user: &str, database: &str) -> Result<Client, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.addr.port()).user(user).dbname(database).password("any");
        let (client, connection) = config.connect(NoTls).await?;
        self.tasks.spawn("test client", async move {
            let _ = connection.await;
        });
        Ok(client)
    }

    async fn client(&self) -> Client {
        self.connect("me", "public").await.expect("connected")
    }

    async fn raw(&self) -> Raw {
        Raw { stream: TcpStream::connect(self.addr).await.expect("connected") }
    }

    /// A raw connection after its start.
    async fn started(&self) -> Raw {
        let mut raw = self.raw().await;
        raw.send(&startup_packet(196_608, &[("user", "me")])).await;
        assert_eq!(raw.until(b'Z').await.last(), Some(&(b'Z', b"I".to_vec())));
        raw
    }

    fn last_query(&self) -> Query {
        self.mock.queries.lock().pop().expect("a query").1
    }
}

fn databases() -> Answer {
    let names = Arc::new(StringArray::from(vec!["public", "d"])) as ArrayRef;
    Answer::Batches(vec![RecordBatch::try_from_iter([("Database", names)]).expect("a batch")])
}

struct Raw {
    stream: TcpStream,
}

impl Raw {
    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("sent");
    }

    async fn message(&mut self) -> Option<(u8, Vec<u8>)> {
        let kind = self.stream.read_u8().await.ok()?;
        let len = self.stream.read_i32().await.ok()?;
        let mut body = vec![0; len as usize - 4];
        self.stream.read_exact(&mut body).await.ok()?;
        Some((kind, body))
    }

    /// All messages up to one of this type, or the end.
    async fn until(&mut self, last: u8) -> Vec<(u8, Vec<u8>)> {
        let mut messages = Vec::new();
        while let Some(message) = self.message().await {
            let done = message.0 == last;
            messages.push(message);
            if done {
                break;
            }
        }
        messages
    }
}

fn startup_packet(version: i32, params: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in params {
        body.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
    }
    body.push(0);
    let mut packet = (body.len() as i32 + 4).to_be_bytes().to_vec();
    packet.extend(body);
    packet
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind];
    packet.extend_from_slice(&(body.len() as i32 + 4).to_be_bytes());
    packet.extend_from_slice(body);
    packet
}

/// The SQLSTATE in an ErrorResponse.
fn state(body: &[u8]) -> String {
    let field = body.split(|byte| *byte == 0).find(|field| field.first() == Some(&b'C')).expect("a code");
    String::from_utf8_lossy(&field[1..]).into_owned()
}

fn kinds(messages: &[(u8, Vec<u8>)]) -> String {
    messages.iter().map(|(kind, _)| char::from(*kind)).collect()
}

fn declared(name: &str, data_type: DataType, kind: &str) -> Field {
    Field::new(name, data_type, true).with_metadata(HashMap::from([(LOGICAL_TYPE_KEY.to_owned(), kind.to_owned())]))
}

fn batch() -> RecordBatch {
    let columns: Vec<(Field, ArrayRef)> = vec![
        (Field::new("b", DataType::Boolean, true), Arc::new(BooleanArray::from(vec![Some(true), None]))),
        (Field::new("i2", DataType::Int16, true), Arc::new(Int16Array::from(vec![Some(-2), None]))),
        (Field::new("i4", DataType::Int32, true), Arc::new(Int32Array::from(vec![Some(-4), None]))),
        (Field::new("i8", DataType::Int64, true), Arc::new(Int64Array::from(vec![Some(i64::MIN), None]))),
        (Field::new("f4", DataType::Float32, true), Arc::new(Float32Array::from(vec![Some(0.1), None]))),
        (Field::new("f8", DataType::Float64, true), Arc::new(Float64Array::from(vec![Some(1e300), None]))),
        (Field::new("t", DataType::Utf8, true), Arc::new(StringArray::from(vec![Some("ä"), None]))),
        (
            Field::new("x", DataType::Binary, true),
            Arc::new(BinaryArray::from(vec![Some(b"\x00\xff".as_slice()), None])),
        ),
        (
            Field::new("ts", DataType::Timestamp(arrow_schema::TimeUnit::Nanosecond, None), true),
            Arc::new(TimestampNanosecondArray::from(vec![Some(1_700_000_000_123_456_789), None])),
        ),
        (declared("small", DataType::Int64, "int32"), Arc::new(Int64Array::from(vec![Some(7), None]))),
    ];
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("a batch")
}

fn numbers(count: i64) -> RecordBatch {
    let column = Arc::new(Int64Array::from_iter_values(0..count)) as ArrayRef;
    RecordBatch::try_from_iter([("n", column)]).expect("a batch")
}

#[tokio::test]
async fn the_extended_protocol_answers_in_binary() {
    let server = Server::start().await;
    server.mock.answer("select", Answer::Batches(vec![batch()]));
    let rows = server.client().await.query("select", &[]).await.expect("rows");
    assert_eq!(rows.len(), 2);
    let row = &rows[0];
    assert!(row.get::<_, bool>("b"));
    assert_eq!((row.get::<_, i16>("i2"), row.get::<_, i32>("i4"), row.get::<_, i64>("i8")), (-2, -4, i64::MIN));
    assert_eq!((row.get::<_, f32>("f4"), row.get::<_, f64>("f8")), (0.1, 1e300));
    assert_eq!((row.get::<_, String>("t").as_str(), row.get::<_, Vec<u8>>("x")), ("ä", vec![0, 255]));
    assert_eq!(row.get::<_, SystemTime>("ts"), SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456));
    assert_eq!(row.get::<_, i32>("small"), 7);
    for column in 0..row.len() {
        assert_eq!(rows[1].columns()[column].name(), row.columns()[column].name());
    }
    assert_eq!(rows[1].get::<_, Option<i64>>("i8"), None);
    assert_eq!(rows[1].get::<_, Option<String>>("t"), None);
}

#[tokio::test]
async fn the_simple_protocol_answers_in_text() {
    let server = Server::start().await;
    server.mock.answer(
        "a; b; c",
        Answer::Many(vec![
            Answer::Batches(vec![batch()]),
            Answer::Count("INSERT", 3),
            Answer::Count("CREATE TABLE", 0),
        ]),
    );
    let client = server.client().await;
    let messages = client.simple_query("a; b; c").await.expect("answers");
    let SimpleQueryMessage::Row(row) = &messages[1] else { panic!("{messages:?}") };
    let values = (0..row.len()).map(|at| row.get(at).expect("a value")).collect::<Vec<_>>();
    assert_eq!(
        values,
        ["t", "-2", "-4", "-9223372036854775808", "0.1", "1e300", "ä", "\\x00ff", "2023-11-14 22:13:20.123456", "7"]
    );
    let counts = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
        _ => None,
    });
    assert_eq!(counts.collect::<Vec<_>>(), [2, 3, 0]);
    assert!(
        client
            .simple_query(" ;; ")
            .await
            .expect("nothing")
            .iter()
            .all(|message| !matches!(message, SimpleQueryMessage::Row(_)))
    );
}

#[tokio::test]
async fn parameters_arrive_as_values() {
    let server = Server::start().await;
    let types = vec![
        Some(DataType::Int64),
        Some(DataType::Utf8),
        Some(DataType::Float64),
        Some(DataType::Boolean),
        Some(DataType::Binary),
        None,
    ];
    server.mock.params.lock().insert("insert".to_owned(), types);
    server.mock.answer("insert", Answer::Count("INSERT", 1));
    let client = server.client().await;
    let count = client.execute("insert", &[&7i64, &"x", &1.5f64, &true, &b"\x01".as_slice(), &None::<String>]).await;
    assert_eq!(count.expect("inserted"), 1);
    let params = vec![
        Value::I64(7),
        Value::String("x".to_owned()),
        Value::F64(1.5),
        Value::Bool(true),
        Value::Binary(vec![1]),
        Value::Null,
    ];
    assert_eq!(server.last_query(), Query::Sql { text: "insert".to_owned(), params });
}

#[tokio::test]
async fn portals_give_rows_in_portions() {
    let server = Server::start().await;
    server.mock.answer("q", Answer::Batches(vec![numbers(4), numbers(0), numbers(5)]));
    let mut client = server.client().await;
    let transaction = client.transaction().await.expect("begun");
    let portal = transaction.bind("q", &[]).await.expect("bound");
    let mut sizes = Vec::new();
    loop {
        let rows = transaction.query_portal(&portal, 3).await.expect("rows");
        sizes.push(rows.len());
        if rows.is_empty() {
            break;
        }
    }
    assert_eq!(sizes, [3, 3, 3, 0]);
    transaction.commit().await.expect("committed");
}

#[tokio::test]
async fn a_large_answer_streams_whole() {
    let server = Server::start().await;
    server.mock.answer("q", Answer::Batches(vec![numbers(8192); 20]));
    let rows = server.client().await.query("q", &[]).await.expect("rows");
    assert_eq!(rows.len(), 8192 * 20);
    assert_eq!(rows[8192 + 5].get::<_, i64>(0), 5);
}

#[tokio::test]
async fn errors_carry_state_text_and_hint_and_the_connection_lives_on() {
    let server = Server::start().await;
    server.mock.answer("bad", Answer::Error(ErrorKind::NotFound, Reason::Table, "table \"t\" not found".to_owned()));
    server.mock.answer("broken", Answer::Broken(vec![numbers(3)], ErrorKind::Corrupt, Reason::General));
    server.mock.answer("good", Answer::Batches(vec![numbers(1)]));
    let client = server.client().await;
    for error in
        [client.simple_query("bad").await.expect_err("refused"), client.query("bad", &[]).await.expect_err("refused")]
    {
        let error = error.as_db_error().expect("from the server");
        assert_eq!((error.code(), error.message()), (&SqlState::UNDEFINED_TABLE, "table \"t\" not found"));
    }
    let error = client.simple_query("bad").await.expect_err("refused");
    assert_eq!(error.as_db_error().and_then(|error| error.hint()), Some("mock hint"));
    let error = client.query("broken", &[]).await.expect_err("broken off");
    assert_eq!(error.code(), Some(&SqlState::DATA_CORRUPTED));
    assert_eq!(client.query("good", &[]).await.expect("rows").len(), 1);
}

#[tokio::test]
async fn a_cancel_request_ends_the_running_query() {
    let server = Server::start().await;
    server.mock.answer("slow", Answer::Never);
    let client = server.client().await;
    let token = client.cancel_token();
    let mock = server.mock.clone();
    let cancel = async {
        mock.begun.notified().await;
        token.cancel_query(NoTls).await.expect("sent");
    };
    let (outcome, ()) = tokio::join!(client.simple_query("slow"), cancel);
    assert_eq!(outcome.expect_err("cancelled").code(), Some(&SqlState::QUERY_CANCELED));
    server.mock.answer("good", Answer::Batches(vec![numbers(1)]));
    assert_eq!(client.query("good", &[]).await.expect("rows").len(), 1);
}

#[tokio::test]
async fn a_killed_connection_is_told_so() {
    let server = Server::start().await;
    server.mock.answer("slow", Answer::Never);
    let mut killed = server.started().await;
    killed.send(&packet(b'Q', b"slow\0")).await;
    server.mock.begun.notified().await;
    let process = server.mock.running().id;
    assert_eq!(server.mock.kill(process, CancelScope::Connection), Verdict::Found);
    for expected in ["57014", "57P01"] {
        let (_, body) = killed.until(b'E').await.pop().expect("an error");
        assert_eq!(state(&body), expected);
    }
}

#[tokio::test]
async fn after_a_kill_of_the_connection_nothing_more_of_it_runs() {
    let server = Server::start().await;
    server.mock.answer("slow", Answer::Never);
    server.mock.answer("next", Answer::Count("INSERT", 1));
    // What is begun is a matter of chance for a server that takes whichever comes first.
    for _ in 0..16 {
        let mut victim = server.started().await;
        victim.send(&[packet(b'Q', b"slow\0"), packet(b'Q', b"next\0")].concat()).await;
        server.mock.begun.notified().await;
        server.mock.kill(server.mock.running().id, CancelScope::Connection);
        let errors = victim.until(0).await.into_iter().filter(|(kind, _)| *kind == b'E');
        assert_eq!(errors.map(|(_, body)| state(&body)).collect::<Vec<_>>(), ["57014", "57P01"]);
        let queries = server.mock.queries.lock();
        assert!(!queries.iter().any(|(_, query)| matches!(query, Query::Sql { text, .. } if text == "next")));
    }
}

#[tokio::test]
async fn a_kill_ends_a_query_whose_client_does_not_read_and_the_connection_lives_on() {
    let server = Server::start().await;
    server.mock.answer("endless", Answer::Endless(mebibyte()));
    server.mock.answer("good", Answer::Batches(vec![numbers(1)]));
    let mut slow = server.started().await;
    slow.send(&packet(b'Q', b"endless\0")).await;
    server.mock.until_stuck().await;
    let running = server.mock.running().id;
    server.mock.kill(running, CancelScope::Statement);
    server.mock.ended.notified().await;
    let (_, error) = slow.until(b'E').await.pop().expect("rows and an error");
    assert_eq!(state(&error), "57014");
    slow.send(&packet(b'Q', b"good\0")).await;
    assert_eq!(kinds(&slow.until(b'C').await), "ZTDC");
    // A connection ends even when nobody reads its last word.
    slow.send(&packet(b'Q', b"endless\0")).await;
    server.mock.until_stuck().await;
    tokio::time::pause();
    server.mock.kill(running, CancelScope::Connection);
    server.mock.ended.notified().await;
    assert!(soon(|| server.mock.processes.list().is_empty()).await);
    tokio::time::advance(Duration::from_secs(6)).await;
    assert!(soon(|| server.mock.kill(running, CancelScope::Statement) == Verdict::Unknown).await);
}

#[tokio::test]
async fn a_client_that_goes_ends_its_query() {
    let server = Server::start().await;
    server.mock.answer("slow", Answer::Never);
    let mut raw = server.started().await;
    raw.send(&packet(b'Q', b"slow\0")).await;
    server.mock.begun.notified().await;
    drop(raw);
    server.mock.ended.notified().await;
}

#[tokio::test]
async fn stopping_tells_idle_clients() {
    let server = Server::start().await;
    let mut raw = server.started().await;
    server.tasks.stop().await;
    let (kind, body) = raw.message().await.expect("a word");
    assert_eq!((kind, state(&body).as_str()), (b'E', "57P01"));
    assert_eq!(raw.message().await, None);
}

#[tokio::test]
async fn databases_are_entered_by_name_and_unknown_ones_refused() {
    let server = Server::start().await;
    server.mock.answer("q", Answer::Batches(vec![numbers(1)]));
    // libpq sends the user's name when no database is given.
    for (user, database, entered) in [("me", "d", "d"), ("me", "public", "public"), ("me", "me", "public")] {
        let client = server.connect(user, database).await.expect("connected");
        client.simple_query("q").await.expect("rows");
        let (session, _) = server.mock.queries.lock().pop().expect("a query");
        assert_eq!((session.database.as_str(), session.user.as_str()), (entered, "me"));
    }
    let error = server.connect("me", "nope").await.expect_err("refused");
    assert_eq!(error.code(), Some(&SqlState::UNDEFINED_DATABASE));
}

#[tokio::test]
async fn a_session_keeps_what_statements_change() {
    let server = Server::start().await;
    server.mock.answer("USE d", Answer::Set("USE", SessionChange::Database("d".to_owned())));
    server.mock.answer("SET tz", Answer::Set("SET", SessionChange::TimeZone("+01:00".to_owned())));
    server.mock.answer("q", Answer::Batches(vec![numbers(1)]));
    let client = server.client().await;
    for text in ["USE d", "SET tz", "q"] {
        client.simple_query(text).await.expect("done");
    }
    let (session, _) = server.mock.queries.lock().pop().expect("a query");
    assert_eq!((session.database.as_str(), session.time_zone.as_str()), ("d", "+01:00"));
}

#[tokio::test]
async fn the_transaction_status_is_what_clients_expect() {
    let server = Server::start().await;
    let mut raw = server.started().await;
    let mut ask = async |text: &str| {
        raw.send(&packet(b'Q', format!("{text}\0").as_bytes())).await;
        let messages = raw.until(b'Z').await;
        let (kind, body) = &messages[0];
        let first =
            if *kind == b'E' { state(body) } else { String::from_utf8_lossy(body).trim_end_matches('\0').to_owned() };
        (first, char::from(messages.last().expect("ready").1[0]))
    };
    assert_eq!(ask("BEGIN").await, ("BEGIN".to_owned(), 'T'));
    assert_eq!(ask("oops").await, ("42601".to_owned(), 'E'));
    assert_eq!(ask("oops").await, ("25P02".to_owned(), 'E'));
    assert_eq!(ask("COMMIT").await, ("ROLLBACK".to_owned(), 'I'));
    assert_eq!(ask("oops").await, ("42601".to_owned(), 'I'));
    assert_eq!(ask("").await, (String::new(), 'I'));
}

#[tokio::test]
async fn encryption_is_refused_politely_and_versions_negotiated() {
    let server = Server::start().await;
    let mut raw = server.raw().await;
    for code in [80_877_103i32, 80_877_104] {
        raw.send(&[8i32.to_be_bytes(), code.to_be_bytes()].concat()).await;
        assert_eq!(raw.stream.read_u8().await.expect("an answer"), b'N');
    }
    raw.send(&startup_packet(196_610, &[("user", "me"), ("_pq_.x", "1")])).await;
    let messages = raw.until(b'Z').await;
    assert_eq!(messages[0], (b'v', b"\0\0\0\0\0\0\0\x01_pq_.x\0".to_vec()));
    assert!(kinds(&messages).starts_with("vRS"), "{}", kinds(&messages));
    let version = messages.iter().find(|(kind, body)| *kind == b'S' && body.starts_with(b"server_version\0"));
    assert!(version.is_some_and(|(_, body)| body.starts_with(b"server_version\x0015.0 (varve")));

    for (packet, code) in [
        (startup_packet(2 << 16, &[("user", "me")]), "0A000"),
        (startup_packet(196_608, &[]), "28000"),
        (startup_packet(196_608, &[("database", "d")]), "28000"),
        ([20_000i32.to_be_bytes(), [0; 4]].concat(), "54000"),
        ([3i32.to_be_bytes(), [0; 4]].concat(), "08P01"),
        ([0i32.to_be_bytes(), [0; 4]].concat(), "08P01"),
        ([8i32.to_be_bytes(), 80_877_102i32.to_be_bytes()].concat(), "08P01"),
    ] {
        let mut raw = server.raw().await;
        raw.send(&packet).await;
        let (kind, body) = raw.message().await.expect("an answer");
        assert_eq!((kind, state(&body).as_str()), (b'E', code));
        assert_eq!(raw.message().await, None, "the connection ends");
    }
}

#[tokio::test]
async fn malformed_messages_are_errors_and_the_connection_lives_on() {
    let server = Server::start().await;
    let cases: [(u8, &[u8]); 9] = [
        (b'P', b"name"),
        (b'P', b"\0sql\0\xff\xff"),
        (b'B', b"\0\0\0\x01"),
        (b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff"),
        (b'B', b"\0\0\0\0\0\x01\xff\xff\xff\x00"),
        (b'D', b"Zname\0"),
        (b'E', b"\0\0"),
        (b'C', b""),
        (b'E', b"\0\0\0\0\0trailing"),
    ];
    for (kind, body) in cases {
        let mut raw = server.started().await;
        raw.send(&packet(kind, body)).await;
        raw.send(&packet(b'S', b"")).await;
        let messages = raw.until(b'Z').await;
        assert_eq!(kinds(&messages), "EZ", "{kind} {body:?}");
        assert_eq!(state(&messages[0].1), "08P01", "{kind} {body:?}");
    }
    let mut raw = server.started().await;
    raw.send(&packet(b'Q', b"\xff\xfe\0")).await;
    let messages = raw.until(b'Z').await;
    assert_eq!((kinds(&messages).as_str(), state(&messages[0].1).as_str()), ("EZ", "22021"));
    raw.send(&packet(b'Q', b"no NUL")).await;
    assert_eq!(kinds(&raw.until(b'Z').await), "EZ");
    raw.send(&packet(b'd', b"late copy data")).await;
    raw.send(&packet(b'?', b"")).await;
    let (kind, body) = raw.message().await.expect("an answer");
    assert_eq!((kind, state(&body).as_str()), (b'E', "08P01"));
    assert_eq!(raw.message().await, None);
    let mut raw = server.started().await;
    raw.send(b"Q\x7f\xff\xff\xff").await;
    let (kind, body) = raw.message().await.expect("an answer");
    assert_eq!((kind, state(&body).as_str()), (b'E', "54000"));
}

#[tokio::test]
async fn the_extended_protocols_rules_hold() {
    let server = Server::start().await;
    server.mock.answer("q", Answer::Batches(vec![numbers(2)]));
    server.mock.answer("two", Answer::Many(vec![Answer::Count("INSERT", 1), Answer::Count("INSERT", 1)]));
    let mut raw = server.started().await;
    let parse = |name: &str, sql: &str| packet(b'P', format!("{name}\0{sql}\0\0\0").as_bytes());
    let bind = |portal: &str, name: &str| packet(b'B', format!("{portal}\0{name}\0\0\0\0\0\0\0").as_bytes());
    let execute = packet(b'E', b"\0\0\0\0\0");
    let sync = packet(b'S', b"");
    let cases: Vec<(Vec<Vec<u8>>, &str, &str)> = vec![
        (vec![parse("", "q"), bind("", ""), packet(b'D', b"P\0"), execute.clone()], "12TDDCZ", ""),
        (vec![parse("", "q"), packet(b'D', b"S\0")], "1tTZ", ""),
        (vec![parse("", " "), bind("", ""), packet(b'D', b"P\0"), execute.clone()], "12nIZ", ""),
        (vec![parse("s", "q")], "1Z", ""),
        (vec![parse("s", "q"), bind("", "s")], "EZ", "42P05"),
        (vec![packet(b'C', b"Ss\0"), parse("s", "q")], "31Z", ""),
        (vec![bind("", "nope")], "EZ", "26000"),
        (vec![packet(b'D', b"Pnope\0")], "EZ", "34000"),
        (vec![packet(b'E', b"nope\0\0\0\0\0")], "EZ", "34000"),
        (vec![packet(b'B', b"\0s\0\0\0\0\x01\0\0\0\x01x\0\0")], "EZ", "08P01"),
        (vec![packet(b'B', b"\0s\0\0\0\0\0\0\x01\0\x05")], "EZ", "22023"),
        (vec![bind("p", "s"), bind("p", "s")], "2EZ", "42P03"),
        (vec![bind("", "s"), execute.clone(), execute.clone()], "2DDCCZ", ""),
        (vec![bind("", "s"), packet(b'E', b"\0\0\0\0\x01"), packet(b'E', b"\0\0\0\0\x05")], "2DsDCZ", ""),
        (vec![parse("", "two"), bind("", ""), execute.clone()], "12EZ", "42601"),
        (vec![packet(b'F', b"")], "EZ", "0A000"),
    ];
    for (messages, expected, code) in cases {
        raw.send(&messages.concat()).await;
        if !messages.iter().all(|message| message[0] == b'F') {
            raw.send(&sync).await;
        }
        let answer = raw.until(b'Z').await;
        assert_eq!(kinds(&answer), expected);
        if let Some((_, body)) = answer.iter().find(|(kind, _)| *kind == b'E') {
            assert_eq!(state(body), code);
        }
    }
}

#[tokio::test]
async fn psql_shows_rows_where_it_is_installed() {
    let server = Server::start().await;
    server.mock.answer("select n", Answer::Batches(vec![numbers(2)]));
    let mut command = tokio::process::Command::new("psql");
    command
        .args(["-h", "127.0.0.1", "-U", "me", "-At", "-c", "select n"])
        .arg("-p")
        .arg(server.addr.port().to_string());
    match command.env("PGPASSWORD", "any").output().await {
        Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n1\n", "{output:?}"),
        Err(_) => eprintln!("skipped: psql"),
    }
}

fn encoded(array: ArrayRef, field: Field, format: Format) -> Vec<Option<Vec<u8>>> {
    let column = Column::of(&field);
    let rows = array.len();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![array]).expect("a batch");
    let cells = Cells::all(&batch, std::slice::from_ref(&column)).expect("cells");
    let mut out = BytesMut::new();
    encode::rows(&mut out, &cells, &[column], &[format], 0..rows);
    let mut values = Vec::new();
    let mut rest = out.freeze();
    while !rest.is_empty() {
        assert_eq!(rest[0], b'D');
        let len = i32::from_be_bytes(rest[1..5].try_into().expect("four bytes")) as usize;
        let row = rest.split_to(1 + len);
        let value_len = i32::from_be_bytes(row[7..11].try_into().expect("four bytes"));
        values.push((value_len >= 0).then(|| row[11..].to_vec()));
    }
    values
}

fn texts(array: ArrayRef, field: Field) -> Vec<String> {
    let values = encoded(array, field, Format::Text).into_iter();
    values.map(|value| value.map_or("NULL".to_owned(), |value| String::from_utf8(value).expect("text"))).collect()
}

#[test]
fn text_values_look_like_postgresqls() {
    let float =
        |values: Vec<f64>| texts(Arc::new(Float64Array::from(values)), Field::new("c", DataType::Float64, true));
    assert_eq!(
        float(vec![1.0, -0.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e15, 123_456.0, 1e-7, 0.0]),
        ["1", "-0.5", "NaN", "Infinity", "-Infinity", "1e15", "123456", "1e-7", "0"]
    );
    let micros =
        TimestampMicrosecondArray::from(vec![Some(0), Some(-1), Some(1_000), Some(i64::MAX), Some(i64::MIN), None]);
    let data_type = DataType::Timestamp(arrow_schema::TimeUnit::Microsecond, None);
    assert_eq!(
        texts(Arc::new(micros.clone()), Field::new("c", data_type, true)),
        [
            "1970-01-01 00:00:00",
            "1969-12-31 23:59:59.999999",
            "1970-01-01 00:00:00.001",
            "infinity",
            "-infinity",
            "NULL"
        ]
    );
    let zoned = micros.with_timezone("UTC");
    let field = Field::new("c", arrow_array::Array::data_type(&zoned).clone(), true);
    assert_eq!(texts(Arc::new(zoned), field)[0], "1970-01-01 00:00:00+00");
    let dates = Date32Array::from(vec![19_000, -1, -800_000]);
    assert_eq!(
        texts(Arc::new(dates), Field::new("c", DataType::Date32, true)),
        ["2022-01-08", "1969-12-31", "0222-09-04 BC"]
    );
    let unsigned = UInt64Array::from(vec![u64::MAX]);
    assert_eq!(texts(Arc::new(unsigned), Field::new("c", DataType::UInt64, true)), ["18446744073709551615"]);
}

#[test]
fn binary_values_have_postgresqls_layout() {
    let field = |data_type| Field::new("c", data_type, true);
    let one = |array: ArrayRef, field| encoded(array, field, Format::Binary)[0].clone().expect("a value");
    assert_eq!(one(Arc::new(Date32Array::from(vec![10_957])), field(DataType::Date32)), 0i32.to_be_bytes());
    let micros = TimestampMicrosecondArray::from(vec![encode::EPOCH_MICROS + 5]);
    let data_type = DataType::Timestamp(arrow_schema::TimeUnit::Microsecond, None);
    assert_eq!(one(Arc::new(micros), field(data_type)), 5i64.to_be_bytes());
    let seconds = arrow_array::TimestampSecondArray::from(vec![i64::MAX]);
    let data_type = DataType::Timestamp(arrow_schema::TimeUnit::Second, None);
    assert_eq!(one(Arc::new(seconds), field(data_type)), i64::MAX.to_be_bytes());
    let small = one(Arc::new(Int64Array::from(vec![-3])), declared("c", DataType::Int64, "int16"));
    assert_eq!(small, (-3i16).to_be_bytes());
    let decimal = Decimal128Array::from(vec![-1_234_567_890]).with_precision_and_scale(20, 3).expect("fits");
    let decimal_type = DataType::Decimal128(20, 3);
    // -1234567.890: groups 123, 4567, 8900; weight 1; negative; scale 3.
    assert_eq!(
        one(Arc::new(decimal), field(decimal_type)),
        [0, 3, 0, 1, 0x40, 0, 0, 3, 0, 123, 0x11, 0xd7, 0x22, 0xc4]
    );
    let json = one(Arc::new(StringArray::from(vec!["{}"])), declared("c", DataType::Utf8, "json"));
    assert_eq!(json, b"{}");
}

#[test]
fn parameters_are_read_in_text_and_binary() {
    let text = |oid, text: &'static str| params::value(oid, Format::Text, &Bytes::from_static(text.as_bytes()));
    let binary = |oid, bytes: &[u8]| params::value(oid, Format::Binary, &Bytes::copy_from_slice(bytes));
    let string = |text: &str| Ok(Value::String(text.to_owned()));
    assert_eq!(text(kind::INT4, " 7 "), Ok(Value::I64(7)));
    assert_eq!(text(kind::BOOL, "on"), Ok(Value::Bool(true)));
    assert_eq!(text(kind::FLOAT8, "-1e3"), Ok(Value::F64(-1000.0)));
    assert_eq!(text(kind::FLOAT8, "NaN").map(|value| matches!(value, Value::F64(value) if value.is_nan())), Ok(true));
    assert_eq!(text(kind::NUMERIC, "18446744073709551615"), Ok(Value::U64(u64::MAX)));
    assert_eq!(text(kind::NUMERIC, "1.25"), Ok(Value::F64(1.25)));
    assert_eq!(text(kind::BYTEA, "\\x00Ff"), Ok(Value::Binary(vec![0, 255])));
    assert_eq!(text(kind::BYTEA, "a\\\\b\\001"), Ok(Value::Binary(b"a\\b\x01".to_vec())));
    assert_eq!(text(kind::TIMESTAMP, "2024-01-01"), string("2024-01-01"));
    for (oid, bad) in
        [(kind::INT8, "x"), (kind::BOOL, "maybe"), (kind::FLOAT4, ""), (kind::BYTEA, "\\x0"), (kind::BYTEA, "\\9")]
    {
        assert_eq!(text(oid, bad).expect_err("refused").code, "22P02", "{bad}");
    }
    assert_eq!(binary(kind::INT2, &[0xff, 0xff]), Ok(Value::I64(-1)));
    assert_eq!(binary(kind::TEXT, b"x"), string("x"));
    assert_eq!(binary(kind::TIMESTAMP, &5i64.to_be_bytes()), string("2000-01-01T00:00:00.000005"));
    assert_eq!(binary(kind::TIMESTAMPTZ, &0i64.to_be_bytes()), string("2000-01-01T00:00:00.000000Z"));
    assert_eq!(binary(kind::DATE, &1i32.to_be_bytes()), string("2000-01-02"));
    assert_eq!(binary(kind::JSONB, b"\x01{}"), string("{}"));
    assert_eq!(binary(kind::UUID, &[0x11; 16]), string("11111111-1111-1111-1111-111111111111"));
    assert_eq!(binary(kind::INT8, &[1, 2]).expect_err("refused").code, "22P03");
    assert_eq!(binary(kind::TIMESTAMP, &i64::MAX.to_be_bytes()).expect_err("refused").code, "22P03");
    assert_eq!(binary(kind::TEXT, b"\xff").expect_err("refused").code, "22021");
    assert_eq!(binary(1007, b"").expect_err("an array").code, "0A000");
}

#[test]
fn every_kind_and_reason_has_its_state() {
    use ErrorKind as K;
    use Reason as R;
    let cases = [
        (K::InvalidRequest, R::General, "22000"),
        (K::InvalidRequest, R::Syntax, "42601"),
        (K::InvalidRequest, R::Plan, "42000"),
        (K::InvalidRequest, R::BadValue, "22023"),
        (K::InvalidRequest, R::Unsupported, "0A000"),
        (K::InvalidRequest, R::TypeConflict, "42804"),
        (K::InvalidRequest, R::Database, "3D000"),
        (K::InvalidRequest, R::Table, "42P01"),
        (K::InvalidRequest, R::Column, "42703"),
        (K::InvalidRequest, R::TooLarge, "54000"),
        (K::InvalidRequest, R::Cost, "54000"),
        (K::InvalidRequest, R::Cardinality, "54000"),
        (K::InvalidRequest, R::KeyReused, "22023"),
        (K::NotFound, R::Database, "3D000"),
        (K::NotFound, R::Table, "42P01"),
        (K::NotFound, R::Column, "42703"),
        (K::NotFound, R::Process, "42704"),
        (K::AlreadyExists, R::Database, "42P04"),
        (K::AlreadyExists, R::Table, "42P07"),
        (K::AlreadyExists, R::Column, "42701"),
        (K::Unauthenticated, R::General, "28P01"),
        (K::PermissionDenied, R::General, "42501"),
        (K::Busy, R::Rate, "53400"),
        (K::Busy, R::Overload, "53000"),
        (K::Unavailable, R::General, "57P03"),
        (K::Unavailable, R::DiskFull, "53100"),
        (K::StaleRoute, R::General, "40001"),
        (K::Fenced, R::General, "57P03"),
        (K::Timeout, R::General, "57014"),
        (K::Timeout, R::Cancelled, "57014"),
        (K::Corrupt, R::General, "XX001"),
        (K::Internal, R::General, "XX000"),
    ];
    for (kind, reason, state) in cases {
        assert_eq!(failure::code(kind, reason), state, "{kind:?}/{reason:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_packet_is_survived(kind in any::<u8>(), body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = frame::message(kind, Bytes::from(body.clone()));
        for kind in *b"QPBDECSHXpF" {
            let _ = frame::message(kind, Bytes::from(body.clone()));
        }
        let _ = frame::startup(Bytes::from(body.clone()));
        for oid in [16, 17, 20, 21, 23, 25, 26, 114, 700, 701, 1082, 1114, 1184, 1700, 2950, 3802] {
            let _ = params::value(oid, Format::Binary, &Bytes::from(body.clone()));
            let _ = params::value(oid, Format::Text, &Bytes::from(body.clone()));
        }
    }

    #[test]
    fn numeric_survives_a_round_trip(value in any::<i64>(), scale in 0u32..12) {
        let digits = format!("{:0width$}", value.unsigned_abs(), width = scale as usize + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale as usize);
        let text = format!("{}{whole}{}{fraction}", if value < 0 { "-" } else { "" }, if scale > 0 { "." } else { "" });
        let mut bytes = BytesMut::new();
        encode::numeric(&mut bytes, &text);
        let found = params::value(1700, Format::Binary, &bytes.freeze()).expect("a number");
        let found = match found {
            Value::I64(value) => value as f64,
            Value::F64(value) => value,
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(found.to_bits(), (text.parse::<f64>().expect("a number") + 0.0).to_bits());
    }
}
