use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch,
    StringArray, TimestampMillisecondArray, UInt64Array,
};
use arrow_ipc::reader::StreamReader;
use arrow_schema::{DataType, Field, Schema};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use varve_model::id::process::CancelScope;
use varve_model::{ErrorKind, Reason};

use super::error::code;
use crate::gateway::Query;
use crate::output::{LOGICAL_TYPE_KEY, SessionChange};
use crate::process::Verdict;
use crate::tests::mock::{Answer, Reply, Server, mebibyte, soon};

fn batch() -> RecordBatch {
    let json = Field::new("j", DataType::Utf8, true)
        .with_metadata(HashMap::from([(LOGICAL_TYPE_KEY.to_owned(), "json".to_owned())]));
    let columns: Vec<(Field, ArrayRef)> = vec![
        (
            Field::new("ts", DataType::Timestamp(arrow_schema::TimeUnit::Millisecond, None), false),
            Arc::new(TimestampMillisecondArray::from(vec![1_720_728_000_000, -1])),
        ),
        (Field::new("s", DataType::Utf8, true), Arc::new(StringArray::from(vec![Some("a,\"b"), None]))),
        (Field::new("f", DataType::Float64, true), Arc::new(Float64Array::from(vec![1.5, f64::NAN]))),
        (Field::new("i", DataType::Int64, true), Arc::new(Int64Array::from(vec![i64::MIN, 7]))),
        (Field::new("u", DataType::UInt64, true), Arc::new(UInt64Array::from(vec![u64::MAX, 0]))),
        (Field::new("b", DataType::Boolean, true), Arc::new(BooleanArray::from(vec![true, false]))),
        (Field::new("d", DataType::Date32, true), Arc::new(Date32Array::from(vec![19_000, -1]))),
        (Field::new("x", DataType::Binary, true), Arc::new(BinaryArray::from(vec![b"\x01\xff".as_slice(), b""]))),
        (json, Arc::new(StringArray::from(vec!["{\"k\":[1]}", "not json"]))),
        (
            Field::new("n", DataType::Decimal128(10, 2), true),
            Arc::new(Decimal128Array::from(vec![12345, -5]).with_precision_and_scale(10, 2).expect("fits")),
        ),
    ];
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("a batch")
}

/// The text with the number after `execution_time_ms` taken out: it is a clock's.
fn timeless(text: &str) -> String {
    let Some((before, after)) = text.split_once("\"execution_time_ms\":") else { return text.to_owned() };
    format!("{before}\"execution_time_ms\":{}", after.trim_start_matches(|digit: char| digit.is_ascii_digit()))
}

const ROWS: &str = "[[1720728000000,\"a,\\\"b\",1.5,-9223372036854775808,18446744073709551615,true,19000,[1,255],{\"k\":[1]},\"123.45\"],\
    [-1,null,null,7,0,false,-1,[],\"not json\",\"-0.05\"]]";

#[tokio::test]
async fn rows_come_in_greptimes_json() {
    let server = Server::start().await;
    server.mock.answer("select 1", Answer::Batches(vec![batch()]));
    let schema = [
        ("ts", "TimestampMillisecond"),
        ("s", "String"),
        ("f", "Float64"),
        ("i", "Int64"),
        ("u", "UInt64"),
        ("b", "Boolean"),
        ("d", "Date"),
        ("x", "Binary"),
        ("j", "Json"),
        ("n", "Decimal(10, 2)"),
    ];
    let schema = schema.map(|(name, kind)| format!("{{\"name\":\"{name}\",\"data_type\":\"{kind}\"}}")).join(",");
    let expected = format!(
        "{{\"output\":[{{\"records\":{{\"schema\":{{\"column_schemas\":[{schema}]}},\"rows\":{ROWS},\"total_rows\":2}}}}],\"execution_time_ms\":}}"
    );
    for reply in [
        server.form("/v1/sql", "sql=select+1&db=d").await,
        server.get("/v1/sql?sql=select%201&db=greptime-d").await,
        server.form("/v1/sql?sql=select+1&db=d", "sql=other&db=e").await,
        server.form("/v1/sql?format=what&db=d", "sql=select+1").await,
    ] {
        assert_eq!((reply.status, timeless(reply.text())), (200, expected.clone()));
        assert_eq!(
            (reply.header("x-greptime-format"), reply.header("content-type")),
            ("greptimedb_v1", "application/json")
        );
        assert!(reply.header("x-greptime-execution-time").parse::<u64>().is_ok());
        reply.json();
        let (session, query) = server.mock.queries.lock().pop().expect("a query");
        assert_eq!(session.database, "d");
        assert_eq!(query, Query::Sql { text: "select 1".to_owned(), params: vec![] });
    }
}

#[tokio::test]
async fn several_statements_give_several_outputs_and_one_error_replaces_all() {
    let server = Server::start().await;
    let small = batch().project(&[3]).expect("a column").slice(1, 1);
    let many = vec![
        Answer::Count("INSERT", 3),
        Answer::Batches(vec![small.clone()]),
        Answer::Set("USE", SessionChange::Database("d".to_owned())),
    ];
    server.mock.answer("many", Answer::Many(many));
    let reply = server.form("/v1/sql", "sql=many").await;
    assert_eq!(
        timeless(reply.text()),
        "{\"output\":[{\"affectedrows\":3},{\"records\":{\"schema\":{\"column_schemas\":[{\"name\":\"i\",\"data_type\":\"Int64\"}]},\"rows\":[[7]],\"total_rows\":1}},{\"affectedrows\":0}],\"execution_time_ms\":}"
    );
    for format in ["json", "csv", "arrow"] {
        assert_eq!(server.form(&format!("/v1/sql?format={format}"), "sql=many").await.json()["code"], 1004);
    }
    let broken = Answer::Broken(vec![small], ErrorKind::Corrupt, Reason::General);
    server.mock.answer("broken", Answer::Many(vec![Answer::Count("INSERT", 1), broken]));
    let reply = server.form("/v1/sql", "sql=broken").await;
    assert_eq!((reply.status, reply.json()["code"].as_u64()), (500, Some(1003)));
}

#[tokio::test]
async fn the_other_formats_show_the_same_rows() {
    let server = Server::start().await;
    server.mock.answer("q", Answer::Batches(vec![batch().slice(0, 1), batch().slice(1, 1)]));
    let get = async |path: &str| server.get(&format!("/v1/sql?sql=q&{path}")).await;

    let reply = get("format=JSON&limit=1").await;
    assert!(
        timeless(reply.text()).starts_with("{\"data\":[{\"ts\":1720728000000,\"s\":\"a,\\\"b\",\"f\":1.5,"),
        "{}",
        reply.text()
    );
    assert_eq!(reply.json()["data"].as_array().map(Vec::len), Some(1));

    let line = "1720728000000,\"a,\"\"b\",1.5,-9223372036854775808,18446744073709551615,true,19000,\"[1,255]\",\"{\"\"k\"\":[1]}\",123.45\r\n";
    let second = "-1,,NaN,7,0,false,-1,[],not json,-0.05\r\n";
    assert_eq!(get("format=csv").await.text(), format!("{line}{second}"));
    let names = "ts,s,f,i,u,b,d,x,j,n\r\n";
    let reply = get("format=csvWithNames").await;
    assert_eq!(
        (reply.text(), reply.header("content-type")),
        (format!("{names}{line}{second}").as_str(), "text/csv; charset=utf-8")
    );
    let types = "TimestampMillisecond,String,Float64,Int64,UInt64,Boolean,Date,Binary,Json,\"Decimal(10, 2)\"\r\n";
    assert_eq!(get("format=csvwithnamesandtypes").await.text(), format!("{names}{types}{line}{second}"));

    let reply = get("format=influxdb_v1&epoch=s").await;
    let json = reply.json();
    assert_eq!(json["results"][0]["series"][0]["columns"][0], "ts");
    assert_eq!(json["results"][0]["series"][0]["values"][0][0], 1_720_728_000);
    assert_eq!(json["results"][0]["series"][0]["values"][1][0], -1);
    assert_eq!(get("format=influxdb_v1&epoch=x").await.status, 400);

    assert!(get("format=null").await.text().starts_with("2 rows in set.\n"));
    let table = get("format=table").await;
    assert!(table.text().starts_with("+--"), "{}", table.text());
    assert_eq!(table.text().lines().count(), 6);

    for compression in ["", "&compression=zstd", "&compression=lz4"] {
        let reply = get(&format!("format=arrow{compression}")).await;
        assert_eq!(reply.header("content-type"), "application/arrow");
        let batches =
            StreamReader::try_new(reply.body.as_slice(), None).expect("a stream").collect::<Result<Vec<_>, _>>();
        let rows = batches.expect("batches").iter().map(RecordBatch::num_rows).sum::<usize>();
        assert_eq!(rows, 2);
    }
    assert_eq!(get("format=arrow&compression=gzip").await.status, 400);
}

#[tokio::test]
async fn limit_cuts_and_no_rows_are_an_empty_list() {
    let server = Server::start().await;
    let column = batch().project(&[3]).expect("a column");
    server.mock.answer("q", Answer::Batches(vec![column.clone(), column.clone(), column.slice(0, 0)]));
    server.mock.answer("none", Answer::Batches(vec![column.slice(0, 0)]));
    let records = |reply: &Reply| reply.json()["output"][0]["records"].clone();
    let reply = server.get("/v1/sql?sql=q&limit=3").await;
    assert_eq!(
        (records(&reply)["total_rows"].as_u64(), records(&reply)["rows"].as_array().map(Vec::len)),
        (Some(3), Some(3))
    );
    assert_eq!(records(&server.get("/v1/sql?sql=q&limit=0").await)["total_rows"], 0);
    assert_eq!(records(&server.get("/v1/sql?sql=none").await)["rows"].as_array().map(Vec::len), Some(0));
    assert_eq!(server.get("/v1/sql?sql=q&limit=x").await.status, 400);
}

#[tokio::test]
async fn a_long_answer_streams_whole_and_breaks_off_on_an_error() {
    let server = Server::start().await;
    let text = StringArray::from(vec!["x".repeat(1000); 1000]);
    let large = RecordBatch::try_from_iter([("t", Arc::new(text) as ArrayRef)]).expect("a batch");
    server.mock.answer("large", Answer::Batches(vec![large.clone(); 30]));
    let reply = server.get("/v1/sql?sql=large").await;
    assert_eq!(reply.json()["output"][0]["records"]["total_rows"], 30_000);
    assert_eq!(reply.header("content-length"), "");
    server.mock.answer("broken", Answer::Broken(vec![large; 30], ErrorKind::Internal, Reason::General));
    let response = reqwest::get(format!("{}/v1/sql?sql=broken", server.url)).await.expect("a head");
    assert_eq!(response.status().as_u16(), 200);
    response.bytes().await.expect_err("the half is not taken for the whole");
}

#[tokio::test]
async fn errors_have_code_text_and_headers() {
    let server = Server::start().await;
    server
        .mock
        .answer("q", Answer::Error(ErrorKind::NotFound, Reason::Table, "table \"t\u{e4}\n\" not found".to_owned()));
    let reply = server.form("/v1/sql", "sql=q").await;
    assert_eq!(
        (reply.status, timeless(reply.text())),
        (400, "{\"code\":4001,\"error\":\"table \\\"t\u{e4}\\n\\\" not found\",\"execution_time_ms\":}".to_owned())
    );
    assert_eq!(reply.header("x-greptime-err-code"), "4001");
    assert!(reply.headers.contains_key("x-greptime-err-msg"));
    for (path, text) in [("/v1/sql", "sql parameter is required"), ("/v1/sql?sql=", "sql parameter is required")] {
        let reply = server.get(path).await;
        assert_eq!(
            (reply.status, reply.json()["code"].as_u64(), reply.json()["error"].as_str()),
            (400, Some(1004), Some(text))
        );
    }
    let reply = server.form("/v1/sql", &format!("sql={}", "x".repeat((1 << 20) + 1))).await;
    assert_eq!((reply.status, reply.json()["code"].as_u64()), (413, Some(1004)));
}

#[tokio::test]
async fn the_time_out_a_client_asks_for_holds() {
    let server = Server::start().await;
    server.mock.answer("slow", Answer::Never);
    for header in ["x-varve-timeout", "x-greptime-timeout"] {
        let request = reqwest::Client::new().get(format!("{}/v1/sql?sql=slow", server.url)).header(header, "20ms");
        let reply = Reply::of(request).await;
        assert_eq!((reply.status, reply.json()["code"].as_u64()), (504, Some(1008)));
    }
    let request =
        reqwest::Client::new().get(format!("{}/v1/sql?sql=slow", server.url)).header("x-varve-timeout", "soon");
    assert_eq!(Reply::of(request).await.status, 400);
}

#[tokio::test]
async fn a_client_that_goes_ends_its_query() {
    let server = Server::start().await;
    server.mock.answer("slow", Answer::Never);
    let request = reqwest::Client::new().get(format!("{}/v1/sql?sql=slow", server.url)).send();
    tokio::select! {
        _ = request => unreachable!("the query never ends"),
        () = server.mock.begun.notified() => {}
    }
    server.mock.ended.notified().await;
}

#[tokio::test]
async fn a_statement_is_listed_while_it_runs_and_can_be_killed() {
    let server = Server::start().await;
    server.mock.answer("slow", Answer::Never);
    let kill = async {
        server.mock.begun.notified().await;
        let running = server.mock.running();
        assert_eq!((running.query.as_str(), running.database.as_str()), ("slow", "public"));
        assert!(running.client.starts_with("http[127.0.0.1:"), "{}", running.client);
        assert_eq!(server.mock.kill(running.id, CancelScope::Connection), Verdict::Found);
    };
    let (reply, ()) = tokio::join!(server.get("/v1/sql?sql=slow"), kill);
    assert_eq!((reply.status, reply.json()["code"].as_u64()), (499, Some(1005)));
    server.mock.ended.notified().await;
    assert!(server.mock.processes.list().is_empty());
}

#[tokio::test]
async fn a_killed_statement_ends_though_its_client_has_stopped_reading() {
    let server = Server::start().await;
    server.mock.answer("endless", Answer::Endless(mebibyte()));
    let address = server.url.strip_prefix("http://").expect("a URL");
    let mut client = TcpStream::connect(address).await.expect("connected");
    client.write_all(b"GET /v1/sql?sql=endless HTTP/1.1\r\nhost: h\r\n\r\n").await.expect("sent");
    server.mock.until_stuck().await;
    server.mock.kill(server.mock.running().id, CancelScope::Statement);
    server.mock.ended.notified().await;
    assert!(soon(|| server.mock.processes.list().is_empty()).await, "{:?}", server.mock.processes.list());
    // What was under way arrives, and the body ends short of its last chunk.
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.expect("the connection is closed");
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert!(!answer.ends_with(b"\r\n0\r\n\r\n"), "the half is not taken for the whole");
}

#[tokio::test]
async fn an_encoder_that_is_lost_is_an_error_and_no_end() {
    let server = Server::start().await;
    server.mock.answer("early", Answer::Lost(vec![mebibyte()]));
    let reply = server.get("/v1/sql?sql=early").await;
    assert_eq!((reply.status, reply.json()["code"].as_u64()), (500, Some(1003)));
    server.mock.answer("late", Answer::Lost(vec![mebibyte(); 30]));
    let response = reqwest::get(format!("{}/v1/sql?sql=late", server.url)).await.expect("a head");
    assert_eq!(response.status().as_u16(), 200);
    response.bytes().await.expect_err("the half is not taken for the whole");
}

#[tokio::test]
async fn a_panic_ends_one_request_only() {
    let server = Server::start().await;
    server.mock.answer("panic", Answer::Panic);
    assert_eq!(server.get("/v1/sql?sql=panic").await.status, 500);
    assert_eq!(server.get("/status").await.status, 200);
}

#[tokio::test]
async fn status_and_metrics_tell_who_this_is() {
    let server = Server::start().await;
    let json = server.get("/status").await.json();
    assert_eq!((json["name"].as_str(), json["role"].as_str()), (Some("node-0"), Some("standalone")));
    assert_eq!((json["version"].as_str(), json["commit"].as_str()), (Some("9.9.9"), Some("abc")));
    assert!(json["uptime"].is_string());
    let reply = server.get("/metrics").await;
    assert!(reply.text().contains("varve_stage_rows_total{stage=\"decode\"}"));
    assert_eq!(server.get("/v1/health").await.status, 200);
}

#[test]
fn every_kind_and_reason_has_its_code() {
    use ErrorKind as K;
    use Reason as R;
    let cases = [
        (K::InvalidRequest, R::General, 400, 1004),
        (K::InvalidRequest, R::Syntax, 400, 2000),
        (K::InvalidRequest, R::Plan, 400, 3000),
        (K::InvalidRequest, R::BadValue, 400, 1004),
        (K::InvalidRequest, R::Unsupported, 400, 1001),
        (K::InvalidRequest, R::TypeConflict, 400, 3000),
        (K::InvalidRequest, R::Database, 400, 4004),
        (K::InvalidRequest, R::Table, 400, 4001),
        (K::InvalidRequest, R::Column, 400, 4002),
        (K::InvalidRequest, R::TooLarge, 413, 1004),
        (K::InvalidRequest, R::Cost, 422, 1004),
        (K::InvalidRequest, R::Cardinality, 400, 1004),
        (K::InvalidRequest, R::KeyReused, 400, 1004),
        (K::NotFound, R::Database, 400, 4004),
        (K::NotFound, R::Table, 400, 4001),
        (K::NotFound, R::Column, 400, 4002),
        (K::NotFound, R::Process, 404, 1004),
        (K::AlreadyExists, R::Database, 400, 4011),
        (K::AlreadyExists, R::Table, 400, 4000),
        (K::AlreadyExists, R::Column, 400, 4003),
        (K::Unauthenticated, R::General, 401, 7002),
        (K::PermissionDenied, R::General, 403, 7006),
        (K::Busy, R::Rate, 429, 6001),
        (K::Busy, R::Overload, 503, 1009),
        (K::Unavailable, R::General, 503, 5000),
        (K::Unavailable, R::DiskFull, 503, 5000),
        (K::StaleRoute, R::General, 503, 5000),
        (K::Fenced, R::General, 503, 5000),
        (K::Timeout, R::General, 504, 1008),
        (K::Timeout, R::Cancelled, 499, 1005),
        (K::Corrupt, R::General, 500, 1003),
        (K::Internal, R::General, 500, 1003),
    ];
    for (kind, reason, status, number) in cases {
        assert_eq!(code(kind, reason), (status, number), "{kind:?}/{reason:?}");
    }
}
