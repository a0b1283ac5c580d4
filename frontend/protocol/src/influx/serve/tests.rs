use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_array::{RecordBatch, StringArray};
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use varve_model::{ErrorKind, Reason};

use crate::gateway::{Refused, RefusedCause, Written};
use crate::tests::mock::{Answer, Reply, Server, soon};

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).expect("memory");
    encoder.finish().expect("memory")
}

fn names(names: &[&str]) -> Answer {
    let column = Arc::new(StringArray::from(names.to_vec())) as _;
    Answer::Batches(vec![RecordBatch::try_from_iter([("Database", column)]).expect("a batch")])
}

async fn post_coded(server: &Server, path: &str, coding: &str, body: Vec<u8>) -> Reply {
    let request = reqwest::Client::new().post(format!("{}{path}", server.url));
    Reply::of(request.header("content-encoding", coding).body(body)).await
}

#[tokio::test]
async fn a_good_write_answers_204_on_every_route() {
    let server = Server::start().await;
    for path in [
        "/write?db=d",
        "/v1/influxdb/write?db=d&consistency=all&u=x&p=y",
        "/write?db=d&rp=autogen",
        "/write?db=d&rp=",
        "/api/v2/write?bucket=d&org=o",
        "/api/v2/write?bucket=d/autogen",
        "/v1/influxdb/api/v2/write?db=d",
    ] {
        let reply = server.post(path, "m v=1 1").await;
        assert_eq!((reply.status, reply.text()), (204, ""), "{path}");
        assert_eq!(reply.header("x-influxdb-version"), "1.8.10-varve-9.9.9");
        assert_eq!(reply.header("x-influxdb-build"), "OSS");
        assert_eq!(reply.header("request-id"), reply.header("x-request-id"));
        let (session, rows) = server.mock.writes.lock().pop().expect("a write");
        assert_eq!((session.database.as_str(), rows.len()), ("d", 1));
        assert_eq!(session.request_id, reply.header("request-id"));
    }
}

#[tokio::test]
async fn other_retention_policies_are_databases_of_their_own() {
    let server = Server::start().await;
    for path in ["/write?db=d&rp=week", "/api/v2/write?bucket=d/week"] {
        assert_eq!(server.post(path, "m v=1 1").await.status, 204);
        assert_eq!(server.mock.writes.lock().pop().expect("a write").0.database, "d/week");
    }
    server.mock.answer("SHOW DATABASES", names(&["public", "d"]));
    let reply = server.post("/write?db=d&rp=nope", "m v=1 1").await;
    assert_eq!((reply.status, reply.text()), (404, "{\"error\":\"retention policy not found: nope\"}\n"));
    let reply = server.post("/write?db=other&rp=nope", "m v=1 1").await;
    assert_eq!((reply.status, reply.text()), (404, "{\"error\":\"database not found: \\\"other\\\"\"}\n"));
    let reply = server.post("/api/v2/write?bucket=d/nope", "m v=1 1").await;
    assert_eq!((reply.status, reply.header("x-platform-error-code")), (404, "not found"));
}

#[tokio::test]
async fn missing_and_unknown_databases_are_named() {
    let server = Server::start().await;
    let reply = server.post("/write", "m v=1").await;
    assert_eq!((reply.status, reply.text()), (400, "{\"error\":\"database is required\"}\n"));
    assert_eq!(reply.header("x-influxdb-error"), "database is required");
    assert_eq!(reply.header("content-type"), "application/json");
    for body in ["m v=1", "bad", ""] {
        let reply = server.post("/write?db=nope", body).await;
        assert_eq!((reply.status, reply.text()), (404, "{\"error\":\"database not found: \\\"nope\\\"\"}\n"), "{body}");
    }
    let reply = server.post("/api/v2/write", "m v=1").await;
    assert_eq!((reply.status, reply.json()["code"].as_str()), (404, Some("not found")));
    let reply = server.post("/api/v2/write?bucket=nope", "m v=1").await;
    assert_eq!((reply.status, reply.json()["code"].as_str()), (404, Some("not found")));
    assert_eq!(reply.header("x-platform-error-code"), "not found");
}

#[tokio::test]
async fn good_lines_are_stored_beside_bad_ones() {
    let server = Server::start().await;
    let body = "m v=1 1\nm v= 2\nm v=3 3\nm\n";
    let text =
        "partial write: unable to parse 'm v= 2': missing field value\nunable to parse 'm': missing fields dropped=0";
    let reply = server.post("/write?db=d", body).await;
    assert_eq!((reply.status, reply.json()["error"].as_str()), (400, Some(text)));
    assert_eq!(reply.header("x-influxdb-error"), text.replace('\n', " "));
    assert_eq!(server.mock.writes.lock().pop().expect("a write").1.len(), 2);
    let reply = server.post("/api/v2/write?bucket=d", body).await;
    assert_eq!((reply.status, reply.json()["code"].as_str()), (400, Some("invalid")));
    assert_eq!(reply.json()["message"].as_str(), Some(text));
    let reply = server.post("/write?db=d", "nothing good").await;
    assert_eq!(reply.json()["error"].as_str(), Some("unable to parse 'nothing good': invalid field format"));
}

#[tokio::test]
async fn rows_the_database_refuses_are_a_partial_write() {
    let server = Server::start().await;
    let refused = vec![Refused { origin: 0, cause: RefusedCause::Expired }];
    *server.mock.write_answer.lock() = Some(Ok(Written { rows: 0, refused }));
    let reply = server.post("/write?db=d", "m v=1 1").await;
    let text = "partial write: points beyond retention policy dropped=1";
    assert_eq!((reply.status, reply.json()["error"].as_str()), (400, Some(text)));
    let reply = server.post("/api/v2/write?bucket=d", "m v=1 1").await;
    assert_eq!((reply.status, reply.json()["code"].as_str()), (422, Some("unprocessable entity")));
}

#[tokio::test]
async fn overload_asks_to_come_back() {
    let server = Server::start().await;
    *server.mock.write_answer.lock() = Some(Err((ErrorKind::Busy, Reason::Rate)));
    let reply = server.post("/write?db=d", "m v=1 1").await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, "1"));
    let reply = server.post("/api/v2/write?bucket=d", "m v=1 1").await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, "1"));
    *server.mock.write_answer.lock() = Some(Err((ErrorKind::Unauthenticated, Reason::General)));
    let reply = server.post("/write?db=d", "m v=1 1").await;
    assert_eq!((reply.status, reply.header("www-authenticate")), (401, "Basic realm=\"InfluxDB\""));
    assert_eq!(reply.header("x-influxdb-error"), "");
}

#[tokio::test]
async fn precisions_scale_timestamps_and_unknown_ones_are_refused() {
    let server = Server::start().await;
    let (micro, milli, second) = (1_000, 1_000_000, 1_000_000_000);
    let v1 = [
        ("n", 1),
        ("ns", 1),
        ("u", micro),
        ("us", micro),
        ("%C2%B5", micro),
        ("%CE%BC", micro),
        ("ms", milli),
        ("s", second),
    ];
    let more = [("m", 60 * second), ("h", 3600 * second), ("", 1)];
    for (precision, scale) in v1.into_iter().chain(more) {
        assert_eq!(
            server.post(&format!("/write?db=d&precision={precision}"), "m v=1 7").await.status,
            204,
            "{precision}"
        );
        assert_eq!(server.mock.writes.lock().pop().expect("a write").1.tables[0].ts, [7 * scale]);
    }
    for (precision, scale) in [("ns", 1), ("us", micro), ("ms", milli), ("s", second)] {
        assert_eq!(server.post(&format!("/api/v2/write?bucket=d&precision={precision}"), "m v=1 7").await.status, 204);
        assert_eq!(server.mock.writes.lock().pop().expect("a write").1.tables[0].ts, [7 * scale]);
    }
    let reply = server.post("/write?db=d&precision=xx", "m v=1").await;
    assert_eq!(reply.json()["error"].as_str(), Some("invalid precision \"xx\" (use n, u, ms, s, m or h)"));
    for precision in ["h", "u", "n"] {
        assert_eq!(server.post(&format!("/api/v2/write?bucket=d&precision={precision}"), "m v=1").await.status, 400);
    }
}

#[tokio::test]
async fn gzip_bodies_are_read_in_every_form() {
    let server = Server::start().await;
    for coding in ["gzip", "x-gzip", "GZIP"] {
        assert_eq!(post_coded(&server, "/write?db=d", coding, gzip(b"m v=1 1\nm v=2 2")).await.status, 204);
        assert_eq!(server.mock.writes.lock().pop().expect("a write").1.len(), 2);
    }
    let members = [gzip(b"m v=1 1\nm v"), gzip(b"=2 2\n")].concat();
    assert_eq!(post_coded(&server, "/write?db=d", "gzip", members).await.status, 204);
    assert_eq!(server.mock.writes.lock().pop().expect("a write").1.len(), 2);
    let whole = gzip(b"m v=1 1");
    let reply = post_coded(&server, "/write?db=d", "gzip", whole[..whole.len() - 4].to_vec()).await;
    assert_eq!((reply.status, reply.json()["error"].as_str()), (400, Some("unexpected EOF")));
    let reply = post_coded(&server, "/write?db=d", "gzip", b"not gzip at all".to_vec()).await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert_eq!(post_coded(&server, "/write?db=d", "identity", b"m v=1".to_vec()).await.status, 204);
    assert_eq!(post_coded(&server, "/write?db=d", "br", b"m v=1".to_vec()).await.status, 400);
}

#[tokio::test]
async fn bombs_and_large_bodies_are_413_before_they_hurt() {
    let server = Server::start().await;
    let bomb = gzip(&vec![b' '; 200 << 20]);
    assert!(bomb.len() < 1 << 20);
    let reply = post_coded(&server, "/write?db=d", "gzip", bomb.clone()).await;
    assert_eq!((reply.status, reply.text()), (413, "{\"error\":\"Request Entity Too Large\"}\n"));
    let reply = post_coded(&server, "/api/v2/write?bucket=d", "gzip", bomb).await;
    assert_eq!((reply.status, reply.json()["code"].as_str()), (413, Some("request too large")));

    // The announced length is enough: nothing is sent.
    let addr = server.url.strip_prefix("http://").expect("a URL");
    let mut stream = tokio::net::TcpStream::connect(addr).await.expect("a connection");
    let head = format!("POST /write?db=d HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", 33 << 20);
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = vec![0; 4096];
    let len = stream.read(&mut answer).await.expect("an answer");
    assert!(answer[..len].starts_with(b"HTTP/1.1 413 "), "{}", String::from_utf8_lossy(&answer[..len]));
}

#[tokio::test]
async fn what_a_body_inflates_to_is_charged_as_it_grows() {
    let server = Server::with(1 << 20).await;
    let text = |bytes: usize| gzip(&b"m v=1\n".repeat(bytes / 6));
    assert_eq!(post_coded(&server, "/write?db=d", "gzip", text(400 << 10)).await.status, 204);
    let full = server.memory.charge(700 << 10).expect("room");
    let reply = post_coded(&server, "/write?db=d", "gzip", text(400 << 10)).await;
    assert_eq!(reply.status, 503, "{}", reply.text());
    drop(full);
    // No pause makes room for them: for the text, and for the text with its columns.
    for bytes in [2 << 20, 600 << 10] {
        let reply = post_coded(&server, "/write?db=d", "gzip", text(bytes)).await;
        assert_eq!(reply.status, 413, "{}", reply.text());
    }
    assert!(soon(|| server.memory.bytes() == 0).await, "{}", server.memory.bytes());
}

#[tokio::test]
async fn chunked_bodies_are_read_and_limited() {
    let server = Server::start().await;
    let chunks = futures::stream::iter(["m v=", "1 1\nm ", "v=2 2"].map(Ok::<_, std::io::Error>));
    let reply = server.post("/write?db=d", reqwest::Body::wrap_stream(chunks)).await;
    assert_eq!(reply.status, 204);
    assert_eq!(server.mock.writes.lock().pop().expect("a write").1.len(), 2);
    let addr = server.url.strip_prefix("http://").expect("a URL");
    let mut stream = tokio::net::TcpStream::connect(addr).await.expect("a connection");
    stream
        .write_all(b"POST /write?db=d HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        .await
        .expect("sent");
    let chunk = [b"100000\r\n".as_slice(), &vec![b'\n'; 1 << 20], b"\r\n"].concat();
    let (mut read, mut write) = stream.split();
    let sending = async {
        // The server may answer and close before all is sent.
        for _ in 0..40 {
            if write.write_all(&chunk).await.is_err() {
                break;
            }
        }
        futures::future::pending::<()>().await;
    };
    let mut answer = vec![0; 64];
    let len = tokio::select! {
        len = read.read(&mut answer) => len.expect("an answer"),
        () = sending => unreachable!("sending never ends"),
    };
    assert!(answer[..len].starts_with(b"HTTP/1.1 413 "), "{}", String::from_utf8_lossy(&answer[..len]));
}

#[tokio::test]
async fn request_ids_and_idempotency_keys_travel() {
    let server = Server::start().await;
    let request = reqwest::Client::new().post(format!("{}/write?db=d", server.url));
    let reply = Reply::of(request.header("x-request-id", "mine").header("idempotency-key", "k1").body("m v=1")).await;
    assert_eq!((reply.status, reply.header("request-id"), reply.header("x-request-id")), (204, "mine", "mine"));
    let (session, _) = server.mock.writes.lock().pop().expect("a write");
    assert_eq!((session.request_id.as_str(), session.idempotency_key.as_deref()), ("mine", Some("k1")));
    assert!(session.body.is_some());
    let request = reqwest::Client::new().post(format!("{}/write?db=d", server.url));
    let reply = Reply::of(request.header("idempotency-key", "k".repeat(300)).body("m v=1")).await;
    assert_eq!(reply.status, 400);
}

#[tokio::test]
async fn bodies_under_a_key_are_known_by_what_they_say() {
    let server = Server::start().await;
    let digest = async |path: &str, body: Vec<u8>, coding: &str| {
        let request = reqwest::Client::new().post(format!("{}{path}", server.url)).header("idempotency-key", "k");
        assert_eq!(Reply::of(request.header("content-encoding", coding).body(body)).await.status, 204);
        server.mock.writes.lock().pop().expect("a write").0.body.expect("a hash")
    };
    let text = b"m v=1\nm v=2";
    let first = digest("/write?db=d", text.to_vec(), "identity").await;
    assert_eq!(first, digest("/write?db=d", gzip(text), "gzip").await);
    assert_eq!(first, digest("/api/v2/write?bucket=d&precision=ns", text.to_vec(), "identity").await);
    assert_ne!(first, digest("/write?db=d&precision=s", text.to_vec(), "identity").await);
    assert_ne!(first, digest("/write?db=d", b"m v=1\nm v=3".to_vec(), "identity").await);
    assert_eq!(server.post("/write?db=d", "m v=1").await.status, 204);
    assert_eq!(server.mock.writes.lock().pop().expect("a write").0.body, None);
}

#[tokio::test]
async fn the_users_name_travels_and_the_secret_does_not() {
    let server = Server::start().await;
    let write = async |path: &str, header: Option<(&str, &str)>| {
        let mut request = reqwest::Client::new().post(format!("{}{path}", server.url));
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        assert_eq!(Reply::of(request.body("m v=1")).await.status, 204);
        server.mock.writes.lock().pop().expect("a write").0
    };
    let basic = Some(("authorization", "Basic YW5uOmdlaGVpbQ=="));
    for (path, header, user) in [
        ("/write?db=d", None, ""),
        ("/write?db=d", basic, "ann"),
        ("/api/v2/write?bucket=d", basic, "ann"),
        ("/api/v2/write?bucket=d", Some(("authorization", "Token ann:geheim")), "ann"),
        ("/api/v2/write?bucket=d", Some(("authorization", "Token geheim")), ""),
        ("/write?db=d&u=bob&p=geheim", None, "bob"),
        ("/write?db=d&u=bob&p=geheim", basic, "bob"),
        ("/write?db=d&u=b%0Aob%00&p=geheim", None, "b?ob?"),
    ] {
        let session = write(path, header).await;
        assert_eq!(session.user, user, "{path} {header:?}");
        assert!(!format!("{session:?}").contains("geheim"), "{session:?}");
    }
    let long = "é".repeat(300);
    let session = write(&format!("/write?db=d&u=x{}", "%C3%A9".repeat(300)), None).await;
    assert_eq!(session.user, format!("x{}", &long[..254]));
    server.mock.answer("CREATE DATABASE IF NOT EXISTS \"n\"", Answer::Count("CREATE DATABASE", 1));
    let reply = server.form("/query?u=bob&p=geheim", "q=CREATE+DATABASE+n").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(server.mock.queries.lock().pop().expect("a query").0.user, "bob");
}

#[tokio::test]
async fn a_large_body_is_decoded_off_the_event_loop_and_whole() {
    let server = Server::start().await;
    let lines = (0..20_000).map(|n| format!("cpu,host=h{} v={n}i {n}", n % 100)).collect::<Vec<_>>();
    let body = lines.join("\n");
    assert_eq!(server.post("/write?db=d", body).await.status, 204);
    let (_, rows) = server.mock.writes.lock().pop().expect("a write");
    assert_eq!((rows.len(), rows.tables[0].keys.len()), (20_000, 100));
}

#[tokio::test]
async fn ping_health_and_ready_answer_as_clients_expect() {
    let server = Server::start().await;
    for path in ["/ping", "/v1/influxdb/ping", "/ping?verbose=0", "/ping?verbose=false", "/ping?verbose="] {
        let reply = server.get(path).await;
        assert_eq!((reply.status, reply.header("x-influxdb-version")), (204, "1.8.10-varve-9.9.9"), "{path}");
    }
    let reply = server.get("/ping?verbose=true").await;
    assert_eq!((reply.status, reply.text()), (200, "{\"version\":\"1.8.10-varve-9.9.9\"}\n"));
    for path in ["/health", "/api/v1/health", "/v1/influxdb/health"] {
        let reply = server.get(path).await;
        assert_eq!((reply.status, reply.json()["status"].as_str()), (200, Some("pass")), "{path}");
    }
    assert_eq!(server.get("/ready").await.json()["status"], "ready");
    server.ready.store(false, Ordering::Relaxed);
    for path in ["/health", "/ready", "/v1/health"] {
        assert_eq!(server.get(path).await.status, 503, "{path}");
    }
    assert_eq!(server.get("/ping").await.status, 204);
}

#[tokio::test]
async fn browsers_get_their_preflight_answer() {
    let server = Server::start().await;
    for path in ["/write", "/query", "/api/v2/write", "/health"] {
        let request = reqwest::Client::new().request(reqwest::Method::OPTIONS, format!("{}{path}", server.url));
        let reply = Reply::of(request.header("origin", "http://a.b")).await;
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (204, "http://a.b"), "{path}");
    }
}

#[tokio::test]
async fn influxql_creates_drops_and_lists_databases() {
    let server = Server::start().await;
    server.mock.answer("SHOW DATABASES", names(&["public", "d"]));
    let reply = server.post("/query?q=SHOW%20DATABASES", "").await;
    let text = "{\"results\":[{\"series\":[{\"columns\":[\"name\"],\"name\":\"databases\",\"values\":[[\"public\"],[\"d\"]]}],\"statement_id\":0}]}\n";
    assert_eq!((reply.status, reply.text()), (200, text));
    let cases = [
        ("create database x", "CREATE DATABASE IF NOT EXISTS \"x\""),
        ("CREATE DATABASE \"a \\\"b\"", "CREATE DATABASE IF NOT EXISTS \"a \"\"b\""),
        (
            "CREATE DATABASE x WITH DURATION 7d REPLICATION 1 SHARD DURATION 0s NAME y",
            "CREATE DATABASE IF NOT EXISTS \"x\" WITH (ttl = '7d')",
        ),
        ("DROP DATABASE \"x\"", "DROP DATABASE IF EXISTS \"x\""),
    ];
    for (text, sql) in cases {
        let reply = server.form("/query", &format!("q={}", text.replace(' ', "+").replace('"', "%22"))).await;
        assert_eq!((reply.status, reply.text()), (200, "{\"results\":[{\"statement_id\":0}]}\n"), "{text}");
        let (_, query) = server.mock.queries.lock().pop().expect("a query");
        assert_eq!(query, crate::gateway::Query::Sql { text: sql.to_owned(), params: vec![] });
    }
    let reply = server.get("/query?q=create+database+x").await;
    assert!(reply.text().contains("deprecated use of 'CREATE DATABASE'"), "{}", reply.text());
}

#[tokio::test]
async fn influxql_beyond_that_is_refused_in_influxqls_shape() {
    let server = Server::start().await;
    let reply = server.get("/query?q=select+*+from+m;show+databases&db=d").await;
    let json = reply.json();
    assert_eq!(reply.status, 200);
    assert_eq!(json["results"][0]["error"], "InfluxQL statement SELECT is not supported yet; use SQL at /v1/sql");
    assert_eq!(json["results"][1]["error"], "not executed");
    for (text, error) in [
        ("", "missing required parameter \"q\""),
        (
            "q=foo",
            "error parsing query: found foo, expected SELECT, DELETE, SHOW, CREATE, DROP, EXPLAIN, GRANT, REVOKE, ALTER, SET, KILL at line 1, char 1",
        ),
        ("q=create+database", "error parsing query: found EOF, expected identifier at line 1, char 16"),
    ] {
        let reply = server.get(&format!("/query?{text}")).await;
        assert_eq!((reply.status, reply.json()["error"].as_str()), (400, Some(error)));
    }
}

#[tokio::test]
async fn flux_is_refused_at_once() {
    let reply = Server::start().await.post("/api/v2/query", "from(bucket:\"x\")").await;
    assert_eq!((reply.status, reply.json()["code"].as_str()), (400, Some("invalid")));
    assert!(reply.text().contains("Flux is not supported"));
}

#[tokio::test]
async fn buckets_are_databases() {
    let server = Server::start().await;
    server.mock.answer("SHOW DATABASES", names(&["public", "d"]));
    let json = server.get("/api/v2/buckets?name=d").await.json();
    assert_eq!(json["buckets"].as_array().map(Vec::len), Some(1));
    assert_eq!(json["buckets"][0]["name"], "d");
    let reply = server
        .post(
            "/api/v2/buckets",
            "{\"name\":\"b\",\"orgID\":\"7\",\"retentionRules\":[{\"type\":\"expire\",\"everySeconds\":60}]}",
        )
        .await;
    assert_eq!((reply.status, reply.json()["name"].as_str()), (201, Some("b")));
    let (_, query) = server.mock.queries.lock().pop().expect("a query");
    assert_eq!(
        query,
        crate::gateway::Query::Sql { text: "CREATE DATABASE \"b\" WITH (ttl = '60s')".to_owned(), params: vec![] }
    );
    server.mock.answer(
        "CREATE DATABASE \"b\"",
        Answer::Error(ErrorKind::AlreadyExists, Reason::Database, "exists".to_owned()),
    );
    let reply = server.post("/api/v2/buckets", "{\"name\":\"b\"}").await;
    assert_eq!((reply.status, reply.json()["code"].as_str()), (422, Some("conflict")));
    assert_eq!(server.post("/api/v2/buckets", "{").await.status, 400);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_json() {
    let server = Server::start().await;
    let reply = server.get("/nope").await;
    assert_eq!((reply.status, reply.json()["error"].as_str()), (404, Some("no such route: /nope")));
    assert_eq!(server.get("/write?db=d").await.status, 405);
}

#[tokio::test]
async fn stopping_ends_idle_connections() {
    let server = Server::start().await;
    let client = reqwest::Client::new();
    Reply::of(client.get(format!("{}/ping", server.url))).await;
    server.tasks.stop().await;
    client.get(format!("{}/ping", server.url)).send().await.expect_err("stopped");
}
