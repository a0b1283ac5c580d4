mod memory;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array,
    Int16Array, Int32Array, Int64Array, NullArray, RecordBatch, StringArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray, UInt8Array, UInt64Array,
};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use mysql_common::constants::{CapabilityFlags, ColumnFlags, ColumnType as Kind, StatusFlags};
use mysql_common::io::BufMutExt;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use varve_model::id::process::CancelScope;
use varve_model::value::Value;
use varve_model::{ErrorKind, Reason};
use varve_service::task::Blocking;

use super::command::{Command, command};
use super::encode::{Format, Style, Zone};
use super::kind::Shape;
use super::wire::Outbox;
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

/// What a modern client can: as much as the server, and more.
const MODERN: CapabilityFlags = CapabilityFlags::from_bits_truncate(
    CapabilityFlags::CLIENT_PROTOCOL_41.bits()
        | CapabilityFlags::CLIENT_SECURE_CONNECTION.bits()
        | CapabilityFlags::CLIENT_PLUGIN_AUTH.bits()
        | CapabilityFlags::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA.bits()
        | CapabilityFlags::CLIENT_CONNECT_ATTRS.bits()
        | CapabilityFlags::CLIENT_DEPRECATE_EOF.bits()
        | CapabilityFlags::CLIENT_MULTI_STATEMENTS.bits()
        | CapabilityFlags::CLIENT_MULTI_RESULTS.bits(),
);

/// What a client of 2005 can.
const OLD: CapabilityFlags = CapabilityFlags::from_bits_truncate(
    CapabilityFlags::CLIENT_PROTOCOL_41.bits() | CapabilityFlags::CLIENT_SECURE_CONNECTION.bits(),
);

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
        mock.answer("BEGIN", Answer::Count("BEGIN", 0));
        mock.answer("COMMIT", Answer::Count("COMMIT", 0));
        mock.answer("USE `d`", Answer::Set("USE", SessionChange::Database("d".to_owned())));
        let missing = "unknown database".to_owned();
        mock.answer("USE `nope`", Answer::Error(ErrorKind::NotFound, Reason::Database, missing));
        Self { mock, addr, tasks, memory }
    }

    async fn raw(&self) -> Raw {
        Raw { stream: TcpStream::connect(self.addr).await.expect("connected"), next: 0 }
    }

    /// A client after its login.
    async fn client(&self) -> Raw {
        self.login(MODERN, "", "caching_sha2_password", b"").await
    }

    async fn login(&self, flags: CapabilityFlags, database: &str, method: &str, answer: &[u8]) -> Raw {
        let mut raw = self.raw().await;
        raw.packet().await.expect("a greeting");
        raw.send(&login_packet(flags, database, method, answer)).await;
        assert_eq!(raw.packet().await.expect("an answer")[0], 0, "logged in");
        raw
    }

    fn last_query(&self) -> Query {
        self.mock.queries.lock().pop().expect("a query").1
    }
}

/// One side of a connection, packet by packet.
struct Raw {
    stream: TcpStream,
    next: u8,
}

impl Raw {
    async fn send(&mut self, payload: &[u8]) {
        let mut outbox = Outbox { bytes: BytesMut::new(), next: self.next };
        outbox.put(|out| out.put_slice(payload));
        self.next = outbox.next;
        self.stream.write_all(&outbox.bytes).await.expect("sent");
    }

    async fn packet(&mut self) -> Option<Vec<u8>> {
        let mut payload = Vec::new();
        loop {
            let header = self.stream.read_u32_le().await.ok()?;
            assert_eq!((header >> 24) as u8, self.next, "numbered without a gap");
            self.next = self.next.wrapping_add(1);
            let len = (header & 0xff_ffff) as usize;
            let start = payload.len();
            payload.resize(start + len, 0);
            self.stream.read_exact(&mut payload[start..]).await.ok()?;
            if len < 0xff_ffff {
                return Some(payload);
            }
        }
    }

    /// Sends a command and reads the first packet of its answer.
    async fn ask(&mut self, code: u8, body: &[u8]) -> Vec<u8> {
        self.next = 0;
        self.send(&[&[code], body].concat()).await;
        self.packet().await.expect("an answer")
    }

    /// The whole answer to a text: columns and rows, under CLIENT_DEPRECATE_EOF.
    async fn query(&mut self, text: &str) -> (Vec<String>, Vec<Vec<Option<String>>>) {
        let first = self.ask(3, text.as_bytes()).await;
        assert!(!matches!(first[0], 0 | 0xff), "{text}: {first:?}");
        self.rows(first).await
    }

    async fn rows(&mut self, first: Vec<u8>) -> (Vec<String>, Vec<Vec<Option<String>>>) {
        let mut columns = Vec::new();
        for _ in 0..first[0] {
            let mut definition = Bytes::from(self.packet().await.expect("a column"));
            let fields = (0..6).map(|_| lenenc(&mut definition).expect("a name")).collect::<Vec<_>>();
            columns.push(fields[4].clone());
        }
        let mut rows = Vec::new();
        loop {
            let packet = self.packet().await.expect("a row or the end");
            if packet[0] == 0xfe && packet.len() < 9 {
                return (columns, rows);
            }
            let mut packet = Bytes::from(packet);
            rows.push(columns.iter().map(|_| lenenc(&mut packet)).collect());
            assert!(packet.is_empty());
        }
    }
}

/// A length-encoded text; `None` for NULL.
fn lenenc(bytes: &mut Bytes) -> Option<String> {
    let len = match bytes.get_u8() {
        0xfb => return None,
        0xfc => usize::from(bytes.get_u16_le()),
        0xfd => bytes.get_uint_le(3) as usize,
        len => usize::from(len),
    };
    Some(String::from_utf8_lossy(&bytes.split_to(len)).into_owned())
}

fn login_packet(flags: CapabilityFlags, database: &str, method: &str, answer: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let flags = if database.is_empty() { flags } else { flags | CapabilityFlags::CLIENT_CONNECT_WITH_DB };
    out.put_u32_le(flags.bits());
    out.put_u32_le(1 << 24);
    out.put_u8(45);
    out.put_bytes(0, 23);
    out.put_slice(b"me\0");
    out.put_u8(answer.len() as u8);
    out.put_slice(answer);
    if !database.is_empty() {
        out.put_slice(database.as_bytes());
        out.put_u8(0);
    }
    if flags.contains(CapabilityFlags::CLIENT_PLUGIN_AUTH) {
        out.put_slice(method.as_bytes());
        out.put_u8(0);
    }
    if flags.contains(CapabilityFlags::CLIENT_CONNECT_ATTRS) {
        out.put_slice(b"\x09\x04_pid\x0342 ");
    }
    out
}

/// Number and SQLSTATE of an ERR packet.
fn code(packet: &[u8]) -> (u16, String) {
    assert_eq!(packet[0], 0xff, "{packet:?}");
    (u16::from_le_bytes([packet[1], packet[2]]), String::from_utf8_lossy(&packet[4..9]).into_owned())
}

/// Status flags of an OK packet without insert id.
fn status(packet: &[u8]) -> StatusFlags {
    assert_eq!(packet[0], 0, "{packet:?}");
    StatusFlags::from_bits_truncate(u16::from_le_bytes([packet[3], packet[4]]))
}

fn numbers(count: i64) -> RecordBatch {
    let column = Arc::new(Int64Array::from_iter_values(0..count)) as ArrayRef;
    RecordBatch::try_from_iter([("n", column)]).expect("a batch")
}

fn declared(name: &str, data_type: DataType, kind: &str) -> Field {
    Field::new(name, data_type, true).with_metadata(HashMap::from([(LOGICAL_TYPE_KEY.to_owned(), kind.to_owned())]))
}

const MICROS: i64 = 1_700_000_000_123_456;

/// A column of every type that an answer can have, with a value and a NULL.
fn every_type() -> RecordBatch {
    let time = |unit| DataType::Timestamp(unit, None);
    let plain = |name: &str, array: ArrayRef| (Field::new(name, array.data_type().clone(), true), array);
    let decimal = Decimal128Array::from(vec![Some(-12_345), None]).with_precision_and_scale(10, 2).expect("fits");
    let text = Arc::new(StringArray::from(vec![Some("{\"a\":1}"), None]));
    let columns: Vec<(Field, ArrayRef)> = vec![
        plain("bool", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        plain("i8", Arc::new(Int8Array::from(vec![Some(-1), None]))),
        plain("i16", Arc::new(Int16Array::from(vec![Some(-2), None]))),
        plain("i32", Arc::new(Int32Array::from(vec![Some(-4), None]))),
        plain("i64", Arc::new(Int64Array::from(vec![Some(i64::MIN), None]))),
        plain("u8", Arc::new(UInt8Array::from(vec![Some(255), None]))),
        plain("u64", Arc::new(UInt64Array::from(vec![Some(u64::MAX), None]))),
        plain("f32", Arc::new(Float32Array::from(vec![Some(0.1), None]))),
        plain("f64", Arc::new(Float64Array::from(vec![Some(1e300), None]))),
        plain("text", Arc::new(StringArray::from(vec![Some("ä"), None]))),
        (declared("json", DataType::Utf8, "json"), text),
        plain("bytes", Arc::new(BinaryArray::from(vec![Some(b"\x00\xff".as_slice()), None]))),
        plain("date", Arc::new(Date32Array::from(vec![Some(19_675), None]))),
        (
            Field::new("s", time(TimeUnit::Second), true),
            Arc::new(TimestampSecondArray::from(vec![Some(MICROS / 1_000_000), None])),
        ),
        (
            Field::new("ms", time(TimeUnit::Millisecond), true),
            Arc::new(TimestampMillisecondArray::from(vec![Some(MICROS / 1000), None])),
        ),
        (
            Field::new("us", time(TimeUnit::Microsecond), true),
            Arc::new(TimestampMicrosecondArray::from(vec![Some(MICROS), None])),
        ),
        (
            Field::new("ns", time(TimeUnit::Nanosecond), true),
            Arc::new(TimestampNanosecondArray::from(vec![Some(MICROS * 1000 + 789), None])),
        ),
        plain("decimal", Arc::new(decimal)),
        plain("null", Arc::new(NullArray::new(2))),
    ];
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("a batch")
}

fn encoded(batch: &RecordBatch, format: Format, zone: &str) -> Vec<Vec<u8>> {
    let columns = Column::all(&batch.schema());
    let cells = Cells::all(batch, &columns).expect("fits");
    let mut outbox = Outbox::default();
    encode::rows(&mut outbox, &cells, &columns, Style { format, zone: Zone::of(zone) }, 0..batch.num_rows());
    let mut bytes = outbox.bytes.freeze();
    let mut packets = Vec::new();
    while !bytes.is_empty() {
        let len = bytes.get_uint_le(3) as usize;
        assert_eq!(usize::from(bytes.get_u8()), packets.len());
        packets.push(bytes.split_to(len).to_vec());
    }
    packets
}

#[test]
fn every_type_has_its_shape() {
    let shapes = Column::all(&every_type().schema()).iter().map(Shape::of).collect::<Vec<_>>();
    let (none, unsigned) = (ColumnFlags::empty(), ColumnFlags::UNSIGNED_FLAG | ColumnFlags::BINARY_FLAG);
    let (binary, blob) = (ColumnFlags::BINARY_FLAG, ColumnFlags::BINARY_FLAG | ColumnFlags::BLOB_FLAG);
    let expected = [
        (Kind::MYSQL_TYPE_TINY, binary, 63, 1, 0),
        (Kind::MYSQL_TYPE_TINY, binary, 63, 4, 0),
        (Kind::MYSQL_TYPE_SHORT, binary, 63, 6, 0),
        (Kind::MYSQL_TYPE_LONG, binary, 63, 11, 0),
        (Kind::MYSQL_TYPE_LONGLONG, binary, 63, 20, 0),
        (Kind::MYSQL_TYPE_TINY, unsigned, 63, 3, 0),
        (Kind::MYSQL_TYPE_LONGLONG, unsigned, 63, 20, 0),
        (Kind::MYSQL_TYPE_FLOAT, binary, 63, 12, 31),
        (Kind::MYSQL_TYPE_DOUBLE, binary, 63, 22, 31),
        (Kind::MYSQL_TYPE_VAR_STRING, none, 46, 262_140, 0),
        (Kind::MYSQL_TYPE_JSON, none, 46, 262_140, 0),
        (Kind::MYSQL_TYPE_BLOB, blob, 63, 262_140, 0),
        (Kind::MYSQL_TYPE_DATE, binary, 63, 10, 0),
        (Kind::MYSQL_TYPE_DATETIME, binary, 63, 19, 0),
        (Kind::MYSQL_TYPE_DATETIME, binary, 63, 23, 3),
        (Kind::MYSQL_TYPE_DATETIME, binary, 63, 26, 6),
        (Kind::MYSQL_TYPE_DATETIME, binary, 63, 26, 6),
        (Kind::MYSQL_TYPE_NEWDECIMAL, binary, 63, 12, 2),
        (Kind::MYSQL_TYPE_NULL, binary, 63, 0, 0),
    ];
    assert_eq!(shapes.len(), expected.len());
    for (shape, (kind, flags, charset, length, decimals)) in shapes.into_iter().zip(expected) {
        assert_eq!(shape, Shape { kind, flags, charset, length, decimals });
    }
}

#[test]
fn a_definition_has_mysqls_order_of_fields() {
    let mut out = BytesMut::new();
    kind::definition(&mut out, &Column::of(&Field::new("n", DataType::UInt64, true)), "t");
    assert_eq!(&out[..], b"\x03def\x00\x01t\x01t\x01n\x01n\x0c\x3f\x00\x14\x00\x00\x00\x08\xa0\x00\x00\x00\x00");
}

#[test]
fn every_type_has_its_text() {
    let rows = encoded(&every_type(), Format::Text, "UTC");
    let mut row = Bytes::from(rows[0].clone());
    let values = (0..18).map(|_| lenenc(&mut row).expect("a value")).collect::<Vec<_>>();
    let expected = [
        "1",
        "-1",
        "-2",
        "-4",
        "-9223372036854775808",
        "255",
        "18446744073709551615",
        "0.1",
        "1e300",
        "ä",
        "{\"a\":1}",
        "\0\u{fffd}",
        "2023-11-14",
        "2023-11-14 22:13:20",
        "2023-11-14 22:13:20.123",
        "2023-11-14 22:13:20.123456",
        "2023-11-14 22:13:20.123456",
        "-123.45",
    ];
    assert_eq!(values, expected);
    assert_eq!(&row[..], [0xfb]);
    assert_eq!(rows[1], [0xfb; 19]);
}

#[test]
fn every_type_has_its_bytes() {
    let rows = encoded(&every_type(), Format::Binary, "UTC");
    let mut expected = BytesMut::new();
    // The last of 19 columns is NULL: bit 20, counted from the two reserved ones.
    expected.put_slice(&[0, 0, 0, 0x10]);
    expected.put_slice(&[1, 0xff]);
    expected.put_i16_le(-2);
    expected.put_i32_le(-4);
    expected.put_i64_le(i64::MIN);
    expected.put_u8(255);
    expected.put_u64_le(u64::MAX);
    expected.put_f32_le(0.1);
    expected.put_f64_le(1e300);
    expected.put_slice(b"\x02\xc3\xa4\x07{\"a\":1}\x02\x00\xff");
    expected.put_slice(&[4, 0xe7, 7, 11, 14]);
    expected.put_slice(&[7, 0xe7, 7, 11, 14, 22, 13, 20]);
    for micros in [123_000, 123_456, 123_456] {
        expected.put_slice(&[11, 0xe7, 7, 11, 14, 22, 13, 20]);
        expected.put_u32_le(micros);
    }
    expected.put_lenenc_str(b"-123.45");
    assert_eq!(rows[0], expected);
    assert_eq!(rows[1], [0, 0xfc, 0xff, 0x1f]);
}

#[test]
fn times_are_shown_in_the_sessions_zone_and_zero_where_mysql_has_no_digits() {
    let times = |values: Vec<i64>| {
        let column = Arc::new(TimestampSecondArray::from(values)) as ArrayRef;
        RecordBatch::try_from_iter([("t", column)]).expect("a batch")
    };
    let shown = |batch: &RecordBatch, zone: &str| {
        let rows = encoded(batch, Format::Text, zone);
        rows.into_iter().map(|row| lenenc(&mut Bytes::from(row)).expect("a value")).collect::<Vec<_>>()
    };
    let batch = times(vec![1_700_000_000]);
    for (zone, expected) in [
        ("UTC", "2023-11-14 22:13:20"),
        ("+08:00", "2023-11-15 06:13:20"),
        ("-03:30", "2023-11-14 18:43:20"),
        ("Europe/Berlin", "2023-11-14 23:13:20"),
    ] {
        assert_eq!(shown(&batch, zone), [expected], "{zone}");
    }
    let batch = times(vec![i64::MAX, i64::MIN, 253_402_300_800, 253_402_300_799]);
    assert_eq!(shown(&batch, "UTC")[..3], ["0000-00-00 00:00:00"; 3]);
    assert_eq!(shown(&batch, "UTC")[3], "9999-12-31 23:59:59");
    assert_eq!(shown(&batch, "+08:00")[3], "0000-00-00 00:00:00");
    assert_eq!(encoded(&batch, Format::Binary, "UTC")[0], [0, 0, 0]);
    // Midnight needs no time.
    assert_eq!(encoded(&times(vec![86_400]), Format::Binary, "UTC")[0], [0, 0, 4, 0xb2, 7, 1, 2]);
}

#[test]
fn floats_without_a_name_in_mysql_have_one_that_languages_read() {
    let values = vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -1.5, 1e15, 1e-7];
    let column = Arc::new(Float64Array::from(values)) as ArrayRef;
    let batch = RecordBatch::try_from_iter([("f", column)]).expect("a batch");
    let rows = encoded(&batch, Format::Text, "UTC");
    let shown = rows.into_iter().map(|row| lenenc(&mut Bytes::from(row)).expect("a value")).collect::<Vec<_>>();
    assert_eq!(shown, ["NaN", "Infinity", "-Infinity", "0", "-1.5", "1e15", "1e-7"]);
}

#[test]
fn a_row_of_sixteen_mebibytes_is_sent_in_chunks() {
    const CHUNK: usize = 0xff_ffff;
    for len in [CHUNK - 5, CHUNK - 4, CHUNK + 10] {
        let text = Arc::new(StringArray::from(vec!["x".repeat(len)])) as ArrayRef;
        let batch = RecordBatch::try_from_iter([("t", text)]).expect("a batch");
        let columns = Column::all(&batch.schema());
        let cells = Cells::all(&batch, &columns).expect("fits");
        let mut outbox = Outbox { bytes: BytesMut::new(), next: 255 };
        let style = Style { format: Format::Text, zone: Zone::of("UTC") };
        encode::rows(&mut outbox, &cells, &columns, style, 0..1);
        let mut sizes = Vec::new();
        let mut bytes = outbox.bytes.freeze();
        while !bytes.is_empty() {
            let len = bytes.get_uint_le(3) as usize;
            sizes.push((len, bytes.get_u8()));
            bytes.advance(len);
        }
        let whole = len + if len > CHUNK { 9 } else { 4 };
        let expected = if whole < CHUNK { vec![(whole, 255)] } else { vec![(CHUNK, 255), (whole - CHUNK, 0)] };
        assert_eq!(sizes, expected);
    }
}

#[test]
fn every_kind_and_reason_has_its_number_and_state() {
    let kinds = [
        (ErrorKind::InvalidRequest, (1210, "HY000")),
        (ErrorKind::NotFound, (1146, "42S02")),
        (ErrorKind::AlreadyExists, (1050, "42S01")),
        (ErrorKind::Unauthenticated, (1045, "28000")),
        (ErrorKind::PermissionDenied, (1142, "42000")),
        (ErrorKind::StaleRoute, (1213, "40001")),
        (ErrorKind::Fenced, (1205, "HY000")),
        (ErrorKind::Busy, (1041, "HY000")),
        (ErrorKind::Unavailable, (1205, "HY000")),
        (ErrorKind::Timeout, (3024, "HY000")),
        (ErrorKind::Corrupt, (1194, "HY000")),
        (ErrorKind::Internal, (1105, "HY000")),
    ];
    for (kind, expected) in kinds {
        assert_eq!(failure::code(kind, Reason::General), expected, "{kind:?}");
        assert_eq!(failure::code(kind, Reason::Cancelled), (1317, "70100"), "{kind:?}");
    }
    let reasons = [
        (ErrorKind::InvalidRequest, Reason::Syntax, (1064, "42000")),
        (ErrorKind::InvalidRequest, Reason::Plan, (1064, "42000")),
        (ErrorKind::InvalidRequest, Reason::BadValue, (1366, "HY000")),
        (ErrorKind::InvalidRequest, Reason::Unsupported, (1235, "42000")),
        (ErrorKind::InvalidRequest, Reason::TypeConflict, (1366, "HY000")),
        (ErrorKind::InvalidRequest, Reason::Database, (1049, "42000")),
        (ErrorKind::InvalidRequest, Reason::Table, (1146, "42S02")),
        (ErrorKind::InvalidRequest, Reason::Column, (1054, "42S22")),
        (ErrorKind::InvalidRequest, Reason::TooLarge, (1153, "HY000")),
        (ErrorKind::InvalidRequest, Reason::Rate, (1210, "HY000")),
        (ErrorKind::InvalidRequest, Reason::Overload, (1210, "HY000")),
        (ErrorKind::InvalidRequest, Reason::Cost, (1104, "42000")),
        (ErrorKind::InvalidRequest, Reason::Cardinality, (1114, "HY000")),
        (ErrorKind::InvalidRequest, Reason::DiskFull, (1210, "HY000")),
        (ErrorKind::InvalidRequest, Reason::KeyReused, (1210, "HY000")),
        (ErrorKind::NotFound, Reason::Database, (1049, "42000")),
        (ErrorKind::NotFound, Reason::Column, (1054, "42S22")),
        (ErrorKind::NotFound, Reason::Process, (1094, "HY000")),
        (ErrorKind::AlreadyExists, Reason::Database, (1007, "HY000")),
        (ErrorKind::AlreadyExists, Reason::Column, (1060, "42S21")),
        (ErrorKind::PermissionDenied, Reason::Database, (1044, "42000")),
        (ErrorKind::Busy, Reason::Rate, (1226, "42000")),
        (ErrorKind::Unavailable, Reason::DiskFull, (1021, "HY000")),
    ];
    for (kind, reason, expected) in reasons {
        assert_eq!(failure::code(kind, reason), expected, "{kind:?} {reason:?}");
    }
}

#[test]
fn the_wire_knows_of_statements_what_it_must() {
    for (text, several) in [
        ("select 1", false),
        ("select 1;", false),
        ("select 1; -- done", false),
        ("select 1; ;; /* ; */ # x", false),
        ("select ';'", false),
        ("select 'it\\'; x', \";\", `;`", false),
        ("select 'a'';' ", false),
        ("select 1 -- ; select 2", false),
        ("select 1 - 2 / 3", false),
        ("select 'open; ", false),
        ("select 1; select 2", true),
        ("select '\\\\'; drop table t", true),
        ("select 1 -- x\n; select 2", true),
        ("/* a */ ; select 1 /* ; */; /*!40101 SET x = 1 */", true),
    ] {
        assert_eq!(text::several(text), several, "{text}");
    }
    for (text, empty) in [(" ;; ", true), ("-- x", true), ("/* x */;", true), ("/*!1 SET x */", false), ("x", false)] {
        assert_eq!(text::is_empty(text), empty, "{text}");
    }
    for (text, expected) in [
        ("SET autocommit=0", Some(false)),
        ("set session autocommit = ON", Some(true)),
        ("SET @@session.autocommit = 0;", Some(false)),
        ("SET names utf8", None),
        ("select autocommit", None),
    ] {
        assert_eq!(text::autocommit(text), expected, "{text}");
    }
    assert_eq!(text::identifier("a`b"), "`a``b`");
    for (bytes, expected) in [
        (&b"insert _binary'\xff\x00a', 'x'"[..], "insert X'FF0061', 'x'"),
        (b"_binary '\\0\\'\\Z\\\\''\\n'", "X'00271A5C270A'"),
        (b"select '_binary''x', my_binary'a'", "select '_binary''x', my_binary'a'"),
        (b"select _binary, \"_binary'\", `a_binary'`", "select _binary, \"_binary'\", `a_binary'`"),
        (b"select _binary'open", "select X'6F70656E'"),
    ] {
        assert_eq!(text::statement(bytes).as_deref(), Ok(expected));
    }
    assert!(text::statement(b"select _binary'a', '\xff'").is_err());
}

#[tokio::test]
async fn the_greeting_names_a_version_an_id_and_what_is_offered() {
    let server = Server::start().await;
    let mut raw = server.raw().await;
    let mut greeting = Bytes::from(raw.packet().await.expect("a greeting"));
    assert_eq!(greeting.get_u8(), 10);
    let end = greeting.iter().position(|byte| *byte == 0).expect("a NUL");
    assert!(greeting.split_to(end + 1).starts_with(b"8.4.2-varve-"));
    let id = greeting.get_u32_le();
    assert_eq!(varve_model::id::ProcessId(id).frontend(), server.mock.processes.frontend());
    let head = greeting.split_to(8);
    greeting.advance(1);
    let low = u32::from(greeting.get_u16_le());
    assert_eq!(greeting.get_u8(), 46);
    assert_eq!(greeting.get_u16_le(), 2);
    let flags = CapabilityFlags::from_bits_truncate(low | u32::from(greeting.get_u16_le()) << 16);
    assert!(flags.contains(CapabilityFlags::CLIENT_PLUGIN_AUTH | CapabilityFlags::CLIENT_DEPRECATE_EOF));
    assert!(!flags.intersects(CapabilityFlags::CLIENT_SSL | CapabilityFlags::CLIENT_COMPRESS));
    assert_eq!(greeting.get_u8(), 21);
    greeting.advance(10);
    let tail = greeting.split_to(13);
    assert!(head.iter().chain(&tail[..12]).all(|byte| byte.is_ascii_graphic()));
    assert_eq!(&greeting[..], b"caching_sha2_password\0");
    let other = server.raw().await.packet().await.expect("a greeting");
    assert!(!other.windows(8).any(|bytes| bytes == &head[..]), "a nonce of its own");
}

#[tokio::test]
async fn any_user_with_any_password_gets_in_by_every_method() {
    let server = Server::start().await;
    for (flags, method, answer) in [
        (MODERN, "caching_sha2_password", &b""[..]),
        (MODERN, "caching_sha2_password", b"\0"),
        (MODERN, "mysql_native_password", &[7; 20]),
        (OLD, "", &[7; 20]),
    ] {
        server.login(flags, "d", method, answer).await;
    }
    // An answer by the caching method waits for a word about it.
    let mut raw = server.raw().await;
    raw.packet().await.expect("a greeting");
    raw.send(&login_packet(MODERN, "", "caching_sha2_password", &[7; 32])).await;
    assert_eq!(raw.packet().await.expect("fast path"), [1, 3]);
    assert_eq!(raw.packet().await.expect("logged in")[0], 0);
    // Other methods are switched to it, with a nonce of their own. A client that prefers the
    // older method and had no nonce for it is given one.
    for (offered, wanted, answer, fast) in [
        ("client_ed25519", "caching_sha2_password", &[7; 32][..], true),
        ("client_ed25519", "caching_sha2_password", b"\0", false),
        ("mysql_native_password", "mysql_native_password", &[7; 20], false),
        ("mysql_native_password", "mysql_native_password", b"", false),
    ] {
        let mut raw = server.raw().await;
        raw.packet().await.expect("a greeting");
        raw.send(&login_packet(MODERN, "", offered, b"")).await;
        let switch = raw.packet().await.expect("a switch");
        assert_eq!(switch[0], 0xfe);
        assert_eq!(&switch[1..=wanted.len()], wanted.as_bytes());
        assert_eq!((switch.len(), switch.last()), (1 + wanted.len() + 1 + 21, Some(&0)));
        raw.send(answer).await;
        if fast {
            assert_eq!(raw.packet().await.expect("fast path"), [1, 3]);
        }
        assert_eq!(raw.packet().await.expect("logged in")[0], 0);
    }
}

#[tokio::test]
async fn a_login_that_cannot_be_served_is_told_why() {
    let server = Server::start().await;
    let tls = MODERN | CapabilityFlags::CLIENT_SSL;
    let cases = [
        (login_packet(MODERN, "nope", "caching_sha2_password", b""), (1049, "42000")),
        (login_packet(tls, "", "", b"")[..32].to_vec(), (1043, "08S01")),
        (login_packet(CapabilityFlags::CLIENT_LONG_PASSWORD, "", "", b""), (1043, "08S01")),
        (login_packet(MODERN, "", "", b"")[..36].to_vec(), (1043, "08S01")),
        (Vec::new(), (1043, "08S01")),
        (vec![0; wire::LOGIN_BYTES_MAX + 1], (1153, "08S01")),
    ];
    for (packet, (number, state)) in cases {
        let mut raw = server.raw().await;
        raw.packet().await.expect("a greeting");
        raw.send(&packet).await;
        // A packet that is refused by its header leaves the numbers as they were.
        let answer = {
            let header = raw.stream.read_u32_le().await.expect("an answer");
            let mut payload = vec![0; (header & 0xff_ffff) as usize];
            raw.stream.read_exact(&mut payload).await.expect("whole");
            payload
        };
        assert_eq!(code(&answer), (number, state.to_owned()));
    }
}

#[tokio::test]
async fn a_text_is_answered_with_columns_and_rows_in_text() {
    let server = Server::start().await;
    server.mock.answer("select", Answer::Batches(vec![every_type()]));
    let mut raw = server.client().await;
    let (columns, rows) = raw.query("select").await;
    assert_eq!((columns.len(), columns[0].as_str(), rows.len()), (19, "bool", 2));
    assert_eq!(rows[0][9].as_deref(), Some("ä"));
    assert!(rows[1].iter().all(Option::is_none));
    server.mock.answer("insert", Answer::Count("INSERT", 300));
    let ok = raw.ask(3, b"insert").await;
    assert_eq!(ok[..4], [0, 0xfc, 44, 1], "300 rows");
}

#[tokio::test]
async fn older_clients_get_eof_packets() {
    let server = Server::start().await;
    server.mock.answer("q", Answer::Batches(vec![numbers(2)]));
    let mut raw = server.login(OLD, "", "", b"").await;
    assert_eq!(raw.ask(3, b"q").await, [1]);
    let mut packets = Vec::new();
    for _ in 0..5 {
        packets.push(raw.packet().await.expect("a packet"));
    }
    assert_eq!(packets[1], [0xfe, 0, 0, 2, 0]);
    assert_eq!(packets[2..4], [vec![1, b'0'], vec![1, b'1']]);
    assert_eq!(packets[4], [0xfe, 0, 0, 2, 0]);
}

#[tokio::test]
async fn several_statements_are_several_answers_for_clients_that_asked() {
    let server = Server::start().await;
    let answers = vec![Answer::Count("INSERT", 3), Answer::Batches(vec![numbers(1)]), Answer::Count("INSERT", 1)];
    server.mock.answer("a; b; c", Answer::Many(answers));
    let mut raw = server.client().await;
    let more = StatusFlags::SERVER_MORE_RESULTS_EXISTS;
    assert!(status(&raw.ask(3, b"a; b; c").await).contains(more));
    let first = raw.packet().await.expect("columns");
    raw.rows(first).await;
    assert!(!status(&raw.packet().await.expect("the last")).contains(more));
    // The option is taken back, and given again.
    raw.ask(0x1b, &[1, 0]).await;
    assert_eq!(code(&raw.ask(3, b"a; b; c").await).0, 1064);
    raw.ask(0x1b, &[0, 0]).await;
    assert!(status(&raw.ask(3, b"a; b; c").await).contains(more));
    let mut old = server.login(OLD, "", "", b"").await;
    assert_eq!(code(&old.ask(3, b"a; b; c").await).0, 1064);
}

#[tokio::test]
async fn a_large_answer_streams_whole() {
    let server = Server::start().await;
    server.mock.answer("q", Answer::Batches(vec![numbers(8192); 20]));
    let (_, rows) = server.client().await.query("q").await;
    assert_eq!(rows.len(), 8192 * 20);
    assert_eq!(rows[8192 + 5][0].as_deref(), Some("5"));
}

#[tokio::test]
async fn errors_carry_number_state_and_text_and_the_connection_lives_on() {
    let server = Server::start().await;
    server.mock.answer("bad", Answer::Error(ErrorKind::NotFound, Reason::Table, "table 't' not found".to_owned()));
    server.mock.answer("broken", Answer::Broken(vec![numbers(3)], ErrorKind::Corrupt, Reason::General));
    server.mock.answer("good", Answer::Batches(vec![numbers(1)]));
    let mut raw = server.client().await;
    let error = raw.ask(3, b"bad").await;
    assert_eq!(code(&error), (1146, "42S02".to_owned()));
    assert_eq!(&error[9..], b"table 't' not found (mock hint)");
    assert_eq!(code(&raw.ask(0x16, b"bad").await).0, 1146);
    raw.ask(3, b"broken").await;
    let mut last = Vec::new();
    for _ in 0..5 {
        last = raw.packet().await.expect("a packet");
    }
    assert_eq!(code(&last).0, 1194);
    assert_eq!(code(&raw.ask(3, b" ; ").await).0, 1065);
    assert_eq!(code(&raw.ask(3, b"\xff\xfe").await).0, 1300);
    assert_eq!(code(&raw.ask(3, "x".repeat(2 << 20).as_bytes()).await), (1153, "HY000".to_owned()));
    assert_eq!(raw.query("good").await.1.len(), 1);
}

#[tokio::test]
async fn the_status_is_what_clients_expect() {
    let server = Server::start().await;
    server.mock.answer("SET autocommit=0", Answer::Set("SET", SessionChange::Ignored));
    let mut raw = server.client().await;
    let (auto, open) = (StatusFlags::SERVER_STATUS_AUTOCOMMIT, StatusFlags::SERVER_STATUS_IN_TRANS);
    assert_eq!(status(&raw.ask(0x0e, b"").await), auto);
    assert_eq!(status(&raw.ask(3, b"BEGIN").await), auto | open);
    assert_eq!(status(&raw.ask(0x0e, b"").await), auto | open);
    assert_eq!(status(&raw.ask(3, b"COMMIT").await), auto);
    assert_eq!(status(&raw.ask(3, b"SET autocommit=0").await), StatusFlags::empty());
    assert_eq!(status(&raw.ask(0x1f, b"").await), auto);
}

#[tokio::test]
async fn a_session_keeps_what_statements_change() {
    let server = Server::start().await;
    let zone = SessionChange::TimeZone("+01:00".to_owned());
    server.mock.answer("SET tz", Answer::Set("SET", zone));
    let time = Arc::new(TimestampSecondArray::from(vec![0])) as ArrayRef;
    let batch = RecordBatch::try_from_iter([("t", time)]).expect("a batch");
    server.mock.answer("q", Answer::Batches(vec![batch]));
    let mut raw = server.login(MODERN, "d", "caching_sha2_password", b"").await;
    assert_eq!(raw.query("q").await.1[0][0].as_deref(), Some("1970-01-01 00:00:00"));
    raw.ask(3, b"SET tz").await;
    assert_eq!(raw.query("q").await.1[0][0].as_deref(), Some("1970-01-01 01:00:00"));
    let session = server.mock.queries.lock().pop().expect("a query").0;
    let seen = (session.database.as_str(), session.user.as_str(), session.time_zone.as_str());
    assert_eq!(seen, ("d", "me", "+01:00"));
    // Its database it keeps, the rest is forgotten.
    raw.ask(0x1f, b"").await;
    raw.query("q").await;
    let session = server.mock.queries.lock().pop().expect("a query").0;
    assert_eq!((session.database.as_str(), session.time_zone.as_str()), ("d", "UTC"));
    assert_eq!(code(&raw.ask(2, b"nope").await).0, 1049);
    assert_eq!(raw.ask(2, b"public").await[0], 0);
    let mut change = b"you\0\x14".to_vec();
    change.put_bytes(7, 20);
    change.put_slice(b"d\0");
    change.put_u16_le(45);
    change.put_slice(b"mysql_native_password\0");
    assert_eq!(raw.ask(0x11, &change).await[0], 0);
    raw.query("q").await;
    let session = server.mock.queries.lock().pop().expect("a query").0;
    assert_eq!((session.database.as_str(), session.user.as_str()), ("d", "you"));
}

#[tokio::test]
async fn the_columns_of_a_table_are_listed() {
    let server = Server::start().await;
    server.mock.answer("SELECT * FROM `t`", Answer::Batches(vec![every_type()]));
    let mut raw = server.client().await;
    let mut packet = raw.ask(4, b"t\0%").await;
    let mut names = Vec::new();
    while packet[0] != 0xfe {
        assert_eq!(packet.last(), Some(&0xfb));
        let mut fields = Bytes::from(packet);
        let found = (0..5).map(|_| lenenc(&mut fields).expect("a name")).collect::<Vec<_>>();
        names.push(found[4].clone());
        packet = raw.packet().await.expect("a packet");
    }
    assert_eq!((names.len(), names[1].as_str()), (19, "i8"));
}

/// A prepared statement's id, columns and parameters.
async fn prepare(raw: &mut Raw, text: &str) -> (u32, u16, u16) {
    let mut reply = Bytes::from(raw.ask(0x16, text.as_bytes()).await);
    assert_eq!(reply.get_u8(), 0, "prepared");
    let (id, columns, params) = (reply.get_u32_le(), reply.get_u16_le(), reply.get_u16_le());
    for _ in 0..columns + params {
        raw.packet().await.expect("a definition");
    }
    (id, columns, params)
}

fn execution(id: u32, values: &[u8]) -> Vec<u8> {
    let mut body = id.to_le_bytes().to_vec();
    body.extend_from_slice(&[0, 1, 0, 0, 0]);
    body.extend_from_slice(values);
    body
}

#[tokio::test]
async fn prepared_statements_take_values_and_answer_in_binary() {
    let server = Server::start().await;
    server.mock.answer("q", Answer::Batches(vec![numbers(2)]));
    server.mock.answer("i", Answer::Count("INSERT", 1));
    server.mock.params.lock().insert("i".to_owned(), vec![Some(DataType::Int64), Some(DataType::Utf8), None]);
    let mut raw = server.client().await;
    let (query, columns, params) = prepare(&mut raw, "q").await;
    assert_eq!((columns, params), (1, 0));
    assert_eq!(raw.ask(0x17, &execution(query, b"")).await, [1]);
    raw.packet().await.expect("a column");
    assert_eq!(raw.packet().await.expect("a row"), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(raw.packet().await.expect("a row"), [0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(raw.packet().await.expect("the end")[0], 0xfe);

    let (insert, columns, params) = prepare(&mut raw, "i").await;
    assert_eq!((columns, params), (0, 3));
    let values = [&[0b100, 1, 8, 0, 0xfd, 0, 6, 0][..], &7i64.to_le_bytes(), b"\x02hi"].concat();
    assert_eq!(raw.ask(0x17, &execution(insert, &values)).await[..2], [0, 1]);
    let expected = |text: &str| Query::Sql {
        text: "i".to_owned(),
        params: vec![Value::I64(7), Value::String(text.to_owned()), Value::Null],
    };
    assert_eq!(server.last_query(), expected("hi"));
    // Types are not named again; one value comes in pieces.
    for piece in [b"lo".as_slice(), b"ng"] {
        raw.next = 0;
        raw.send(&[&[0x18][..], &insert.to_le_bytes(), &[1, 0], piece].concat()).await;
    }
    let values = [&[0b100, 0][..], &7i64.to_le_bytes()].concat();
    assert_eq!(raw.ask(0x17, &execution(insert, &values)).await[0], 0);
    assert_eq!(server.last_query(), expected("long"));
    // Pieces for a parameter that is not there are told at the execution, then forgotten.
    raw.next = 0;
    raw.send(&[&[0x18][..], &insert.to_le_bytes(), &[9, 0, b'x']].concat()).await;
    assert_eq!(code(&raw.ask(0x17, &execution(insert, &values)).await).0, 1210);
    assert_eq!(raw.ask(0x1a, &insert.to_le_bytes()).await[0], 0);
    assert_eq!(code(&raw.ask(0x17, &execution(insert, b"")).await).0, 1835);
    assert_eq!(code(&raw.ask(0x1c, &[&insert.to_le_bytes()[..], &[1, 0, 0, 0]].concat()).await).0, 1421);
    raw.next = 0;
    raw.send(&[&[0x19][..], &insert.to_le_bytes()].concat()).await;
    assert_eq!(code(&raw.ask(0x17, &execution(insert, &values)).await).0, 1243);
}

/// Type and flags, bytes, what the statement wants, the value.
type Parameter = (&'static [u8], &'static [u8], Option<DataType>, Value);

#[test]
fn parameters_of_every_type_become_values() {
    let text = |text: &str| Value::String(text.to_owned());
    let cases: Vec<Parameter> = vec![
        (&[1, 0], &[0xff], None, Value::I64(-1)),
        (&[1, 0x80], &[0xff], None, Value::I64(255)),
        (&[2, 0], &[0xfe, 0xff], None, Value::I64(-2)),
        (&[13, 0x80], &[0xe7, 7], None, Value::I64(2023)),
        (&[3, 0], &[0xfc, 0xff, 0xff, 0xff], None, Value::I64(-4)),
        (&[9, 0x80], &[0xff, 0xff, 0xff, 0xff], None, Value::I64(0xffff_ffff)),
        (&[8, 0x80], &[0xff; 8], None, Value::U64(u64::MAX)),
        (&[8, 0], &[0xff; 8], None, Value::I64(-1)),
        (&[4, 0], &[0, 0, 0xc0, 0x3f], None, Value::F64(1.5)),
        (&[5, 0], &[0, 0, 0, 0, 0, 0, 0xf8, 0x3f], None, Value::F64(1.5)),
        (&[6, 0], &[], None, Value::Null),
        (&[0xfd, 0], b"\x02hi", None, text("hi")),
        (&[0xfe, 0], b"\x02\xff\xfe", None, Value::Binary(vec![0xff, 0xfe])),
        (&[0xfc, 0], b"\x02hi", Some(DataType::Binary), Value::Binary(b"hi".to_vec())),
        (&[0xf6, 0], b"\x0512.50", None, Value::F64(12.5)),
        (&[0xf6, 0], b"\x0212", None, Value::I64(12)),
        (&[10, 0], &[4, 0xe7, 7, 11, 14], None, text("2023-11-14")),
        (&[12, 0], &[0], None, text("0000-00-00")),
        (&[7, 0], &[7, 0xe7, 7, 11, 14, 22, 13, 20], None, text("2023-11-14 22:13:20")),
        (&[12, 0], &[11, 0xe7, 7, 11, 14, 22, 13, 20, 64, 226, 1, 0], None, text("2023-11-14 22:13:20.123456")),
        (&[11, 0], &[8, 1, 1, 0, 0, 0, 2, 3, 4], None, text("-26:03:04")),
        (&[11, 0], &[12, 0, 0, 0, 0, 0, 2, 3, 4, 64, 226, 1, 0], None, text("02:03:04.123456")),
        // What drivers send, against what the statement wants.
        (&[0xfd, 0], b"\x0242", Some(DataType::Int64), Value::I64(42)),
        (&[0xfd, 0], b"\x0242", Some(DataType::Float64), Value::F64(42.0)),
        (&[0xfd, 0], b"\x04true", Some(DataType::Boolean), Value::Bool(true)),
        (&[0xfd, 0], b"\x01x", Some(DataType::Int64), text("x")),
        (&[1, 0], &[1], Some(DataType::Boolean), Value::Bool(true)),
        (&[1, 0], &[1], Some(DataType::Utf8), text("1")),
    ];
    for (kind, bytes, wanted, expected) in cases {
        let packet = [&[0, 1][..], kind, bytes].concat();
        let value = prepared::values(&packet, std::slice::from_ref(&wanted), &mut Vec::new(), &BTreeMap::new());
        assert_eq!(value, Ok(vec![expected]), "{kind:?} {bytes:?}");
    }
    for (kind, bytes) in [
        (&[8, 0][..], &[1][..]),
        (&[12, 0], &[5, 1, 1, 1, 1, 1]),
        (&[12, 0], &[11, 1]),
        (&[0xfd, 0], &[9, 1]),
        (&[0xfd, 0], &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        (&[42, 0], &[1]),
        (&[1, 0], &[1, 2]),
    ] {
        let packet = [&[0, 1][..], kind, bytes].concat();
        let value = prepared::values(&packet, &[None], &mut Vec::new(), &BTreeMap::new());
        assert!(value.is_err(), "{kind:?} {bytes:?}");
    }
}

#[tokio::test]
async fn kill_ends_a_query_or_a_connection() {
    let server = Server::start().await;
    server.mock.answer("slow", Answer::Never);
    server.mock.answer("good", Answer::Batches(vec![numbers(1)]));
    let mut victim = server.client().await;
    victim.next = 0;
    victim.send(b"\x03slow").await;
    server.mock.begun.notified().await;
    let running = server.mock.running();
    assert_eq!((running.user.as_str(), running.query.as_str()), ("me", "slow"));
    assert!(running.client.starts_with("mysql[127.0.0.1:"), "{}", running.client);
    let kill = |scope| server.mock.kill(running.id, scope);
    assert_eq!(kill(CancelScope::Statement), Verdict::Found);
    assert_eq!(code(&victim.packet().await.expect("an answer")), (1317, "70100".to_owned()));
    assert_eq!(victim.query("good").await.1.len(), 1);
    assert!(server.mock.processes.list().is_empty());
    assert_eq!(kill(CancelScope::Connection), Verdict::Found);
    // Told out of turn, so not numbered after what the client asked last.
    victim.next = 0;
    assert_eq!(code(&victim.packet().await.expect("a word")).0, 3169);
    assert_eq!(victim.packet().await, None);
    assert_eq!(kill(CancelScope::Connection), Verdict::Unknown, "it has gone");
    // The command of old clients is the statement.
    let unknown = Answer::Error(ErrorKind::NotFound, Reason::Process, "Unknown thread id: 99".to_owned());
    server.mock.answer("KILL 99", unknown);
    assert_eq!(code(&server.client().await.ask(0x0c, &[99, 0, 0, 0]).await).0, 1094);
}

#[tokio::test]
async fn after_a_kill_of_the_connection_nothing_more_of_it_runs() {
    let server = Server::start().await;
    server.mock.answer("slow", Answer::Never);
    server.mock.answer("next", Answer::Count("INSERT", 1));
    // What is begun is a matter of chance for a server that takes whichever comes first.
    for _ in 0..16 {
        let mut victim = server.client().await;
        // Both at once, so that the second has come when the first is killed.
        victim.stream.write_all(b"\x05\0\0\0\x03slow\x05\0\0\0\x03next").await.expect("sent");
        victim.next = 1;
        server.mock.begun.notified().await;
        server.mock.kill(server.mock.running().id, CancelScope::Connection);
        assert_eq!(code(&victim.packet().await.expect("an answer")).0, 1317);
        victim.next = 0;
        assert_eq!(code(&victim.packet().await.expect("a word")).0, 3169);
        assert_eq!(victim.packet().await, None);
        let queries = server.mock.queries.lock();
        assert!(!queries.iter().any(|(_, query)| matches!(query, Query::Sql { text, .. } if text == "next")));
    }
}

#[tokio::test]
async fn a_kill_ends_a_query_whose_client_does_not_read_and_the_connection_lives_on() {
    let server = Server::start().await;
    server.mock.answer("endless", Answer::Endless(mebibyte()));
    server.mock.answer("good", Answer::Batches(vec![numbers(1)]));
    let mut slow = server.client().await;
    slow.next = 0;
    slow.send(b"\x03endless").await;
    server.mock.until_stuck().await;
    let running = server.mock.running().id;
    server.mock.kill(running, CancelScope::Statement);
    server.mock.ended.notified().await;
    let error = loop {
        let packet = slow.packet().await.expect("rows and an error");
        if packet[0] == 0xff {
            break packet;
        }
    };
    assert_eq!(code(&error).0, 1317);
    assert_eq!(slow.query("good").await.1.len(), 1);
    // A connection ends even when nobody reads its last word.
    slow.next = 0;
    slow.send(b"\x03endless").await;
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
    let mut raw = server.client().await;
    raw.next = 0;
    raw.send(b"\x03slow").await;
    server.mock.begun.notified().await;
    drop(raw);
    server.mock.ended.notified().await;
}

#[tokio::test]
async fn stopping_tells_idle_clients() {
    let server = Server::start().await;
    let mut raw = server.client().await;
    server.tasks.stop().await;
    raw.next = 0;
    assert_eq!(code(&raw.packet().await.expect("a word")).0, 1053);
    assert_eq!(raw.packet().await, None);
}

#[tokio::test]
async fn commands_that_are_unknown_or_malformed_are_errors_and_the_connection_lives_on() {
    let server = Server::start().await;
    let mut raw = server.client().await;
    for (command, body, number) in [
        (0x05u8, &b"db"[..], 1047),
        (0x12, b"", 1047),
        (0x15, b"", 1047),
        (0x1b, b"\x07\0", 1047),
        (0xff, b"", 1047),
        (0x17, b"\x01", 1835),
        (0x1a, b"\x01\0", 1835),
        (0x11, b"user", 1835),
        (0x11, b"user\0\x09abc", 1835),
        (0x04, b"no end", 1835),
    ] {
        assert_eq!(code(&raw.ask(command, body).await).0, number, "{command} {body:?}");
    }
    assert!(String::from_utf8_lossy(&raw.ask(9, b"").await).starts_with("Uptime"));
    raw.next = 0;
    raw.send(b"").await;
    assert_eq!(code(&raw.packet().await.expect("an answer")).0, 1835);
    assert_eq!(raw.ask(0x0e, b"").await[0], 0);
    // Never answered, so what is malformed ends the connection.
    assert_eq!(code(&raw.ask(0x18, b"\x01").await).0, 1835);
    assert_eq!(raw.packet().await, None);
    // A packet out of its order.
    let mut raw = server.client().await;
    raw.stream.write_all(&[1, 0, 0, 9, 0x0e]).await.expect("sent");
    raw.next = 0;
    assert_eq!(code(&raw.packet().await.expect("a word")).0, 1156);
    // More than fits.
    let mut raw = server.client().await;
    let header = [0xff, 0xff, 0xff, 0];
    raw.stream.write_all(&[&header[..], &vec![0; 0xff_ffff]].concat()).await.expect("sent");
    raw.stream.write_all(&[0xff, 0xff, 0xff, 1]).await.expect("sent");
    raw.stream.write_all(&vec![0; 0xff_ffff]).await.expect("sent");
    raw.stream.write_all(&[0xff, 0xff, 0xff, 2, 0]).await.expect("sent");
    raw.next = 2;
    assert_eq!(code(&raw.packet().await.expect("a word")), (1153, "08S01".to_owned()));
}

#[tokio::test]
async fn a_text_in_two_chunks_is_one_text() {
    let server = Server::start().await;
    let mut raw = server.client().await;
    // Longer than a chunk, so longer than SQL may be: the answer says that it arrived whole.
    let answer = raw.ask(3, &vec![b' '; 0xff_ffff + 10]).await;
    assert_eq!(code(&answer).0, 1153);
    assert_eq!(raw.ask(0x0e, b"").await[0], 0);
}

#[tokio::test]
async fn the_mysql_client_shows_rows_where_it_is_installed() {
    let server = Server::start().await;
    server.mock.answer("select n", Answer::Batches(vec![numbers(2)]));
    let mut command = tokio::process::Command::new("mysql");
    command.args(["-h", "127.0.0.1", "-u", "me", "-pany", "--skip-ssl", "-N", "-B", "-e", "select n", "-P"]);
    match command.arg(server.addr.port().to_string()).output().await {
        Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n1\n", "{output:?}"),
        Err(_) => eprintln!("skipped: mysql"),
    }
}

proptest! {
    #[test]
    fn hostile_commands_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = command(Bytes::from(bytes));
    }

    #[test]
    fn hostile_values_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        wanted in prop::collection::vec(
            prop::sample::select(vec![None, Some(DataType::Int64), Some(DataType::Utf8), Some(DataType::Binary)]),
            0..20,
        ),
    ) {
        let mut types = Vec::new();
        let _ = prepared::values(&bytes, &wanted, &mut types, &BTreeMap::new());
        let named = [&vec![0; wanted.len().div_ceil(8)][..], &[1], &bytes].concat();
        let _ = prepared::values(&named, &wanted, &mut types, &BTreeMap::new());
    }

    #[test]
    fn hostile_texts_never_panic(text in "[ ;'\"`\\\\/*!#\\-a-z@=0-9ä\n]{0,60}") {
        let (several, empty) = (text::several(&text), text::is_empty(&text));
        prop_assert!(!(several && empty));
        let _ = text::autocommit(&text);
    }

    #[test]
    fn hostile_bytes_of_statements_never_panic(
        parts in prop::collection::vec(
            prop::sample::select(vec![&b"_binary"[..], b"'", b"\\", b"\"", b" ", b"\xff", b"a"]),
            0..30,
        ),
    ) {
        let bytes = parts.concat();
        let _ = text::statement(&bytes);
    }

    #[test]
    fn hostile_logins_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), flags in any::<u32>()) {
        let flags = flags & !CapabilityFlags::CLIENT_SSL.bits() | CapabilityFlags::CLIENT_PROTOCOL_41.bits();
        let packet = [&flags.to_le_bytes()[..], &bytes].concat();
        let _ = login::read(&Bytes::from(packet));
    }

    #[test]
    fn a_query_is_read_as_it_was_written(text in ".{0,100}") {
        let packet = [b"\x03", text.as_bytes()].concat();
        prop_assert_eq!(command(Bytes::from(packet)), Ok(Command::Query(text)));
    }
}

#[tokio::test]
async fn hostile_bytes_end_the_connection_and_nothing_else() {
    let server = Server::start().await;
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 64], &[0; 64], b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"] {
        let mut raw = server.raw().await;
        raw.packet().await.expect("a greeting");
        raw.stream.write_all(bytes).await.expect("sent");
        raw.stream.shutdown().await.expect("shut");
        let mut rest = Vec::new();
        // It may also be reset: bytes that were not read are lost then.
        let _ = raw.stream.read_to_end(&mut rest).await;
    }
    assert_eq!(server.client().await.ask(0x0e, b"").await[0], 0);
}
