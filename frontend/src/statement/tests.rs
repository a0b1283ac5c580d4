use varve_model::value::Value;
use varve_model::{ErrorKind, Reason};
use varve_proto::metasrv::RegionAction;
use varve_protocol::gateway::{Gateway, Query};
use varve_protocol::output::{Output, SessionChange};
use varve_protocol::session::{Session, Wire};

use crate::fake::Cluster;

async fn cpu(nodes: u64, regions: u32) -> Cluster {
    let cluster = Cluster::start(nodes).await;
    let create = format!(
        "CREATE TABLE cpu (host STRING, dc STRING, ts TIMESTAMP TIME INDEX, usage DOUBLE, note STRING,
         PRIMARY KEY (host, dc)) WITH (regions = {regions})"
    );
    cluster.exec(&create).await;
    let rows = (0..12).map(|at| format!("('h{}', 'd{}', {at}, {at}.5, 'n{at}')", at % 4, at % 2));
    let insert = format!("INSERT INTO cpu VALUES {}", rows.collect::<Vec<_>>().join(", "));
    assert_eq!(cluster.exec(&insert).await, 12);
    cluster
}

#[tokio::test]
async fn rows_are_created_inserted_and_selected() {
    let cluster = cpu(1, 1).await;
    assert_eq!(cluster.rows("SELECT count(*) FROM cpu").await, ["12"]);
    assert_eq!(
        cluster.rows("SELECT host, usage, ts FROM cpu WHERE host = 'h1' AND ts >= 5 ORDER BY ts").await,
        ["h1|5.5|1970-01-01T00:00:00.005", "h1|9.5|1970-01-01T00:00:00.009"]
    );
    assert_eq!(cluster.rows("SELECT * FROM cpu WHERE usage > 10.6").await, ["h3|d1|1970-01-01T00:00:00.011|11.5|n11"]);
    assert_eq!(cluster.rows("SELECT note FROM greptime.public.cpu WHERE ts = 3").await, ["n3"]);
}

#[tokio::test]
async fn answers_are_the_same_over_one_region_and_over_several_datanodes() {
    let queries = [
        "SELECT dc, count(*), sum(usage), min(note) FROM cpu GROUP BY dc ORDER BY dc",
        "SELECT host, usage FROM cpu ORDER BY usage DESC LIMIT 3",
        "SELECT count(*) FROM (SELECT DISTINCT host FROM cpu)",
        "SELECT a.host, b.usage FROM cpu a JOIN cpu b ON a.ts = b.ts AND a.host = b.host WHERE a.ts < 3 ORDER BY 2",
        "SELECT host, sum(usage) OVER (PARTITION BY host ORDER BY ts) s FROM cpu ORDER BY host, s LIMIT 4",
        "SELECT usage FROM cpu WHERE usage > (SELECT avg(usage) FROM cpu) ORDER BY 1",
        "WITH x AS (SELECT host, max(ts) m FROM cpu GROUP BY host) SELECT * FROM x ORDER BY host",
        "SELECT usage FROM cpu WHERE host = 'h0' UNION ALL SELECT usage FROM cpu WHERE host = 'h1' ORDER BY 1",
        "SELECT count(*) FROM (SELECT * FROM cpu LIMIT 5)",
        "SELECT date_bin(INTERVAL '4 milliseconds', ts) b, avg(usage) FROM cpu GROUP BY b ORDER BY b",
        "SELECT host FROM cpu WHERE host IN ('h1', 'h2') AND dc <> 'd1' GROUP BY host",
        "SELECT count(*) FROM cpu WHERE ts BETWEEN '1970-01-01 00:00:00.002' AND '1970-01-01T00:00:00.005Z'",
    ];
    let (one, many) = (cpu(1, 1).await, cpu(3, 5).await);
    for query in queries {
        let rows = one.rows(query).await;
        assert!(!rows.is_empty(), "{query}");
        assert_eq!(rows, many.rows(query).await, "{query}");
    }
}

#[tokio::test]
async fn columns_that_are_left_out_take_their_defaults_and_types_are_checked() {
    let cluster = Cluster::start(1).await;
    cluster
        .exec(
            "CREATE TABLE d (i INT DEFAULT -1, f DOUBLE DEFAULT -2, k TIMESTAMP DEFAULT -3, s STRING DEFAULT 'x',
             day DATE, u TINYINT UNSIGNED, j JSON, b BOOLEAN NOT NULL DEFAULT true, ts TIMESTAMP TIME INDEX,)",
        )
        .await;
    cluster.exec("INSERT INTO d (ts) VALUES (1)").await;
    cluster.exec("INSERT INTO d (ts, day, u, j, s) VALUES (2, '2024-02-29', 1 + 2, '{\"a\": 1}', \"quoted\")").await;
    cluster.exec("INSERT INTO d (ts, i) VALUES (3, DEFAULT), ('1970-01-01 00:00:00.004+00:00', NULL)").await;
    assert_eq!(
        cluster.rows("SELECT i, f, k, s, day, u, j, b FROM d ORDER BY ts").await,
        [
            "-1|-2.0|1969-12-31T23:59:59.997|x||||true",
            "-1|-2.0|1969-12-31T23:59:59.997|quoted|2024-02-29|3|{\"a\": 1}|true",
            "-1|-2.0|1969-12-31T23:59:59.997|x||||true",
            "|-2.0|1969-12-31T23:59:59.997|x||||true",
        ]
    );
    cluster.exec("INSERT INTO d (ts, i) VALUES (now() + INTERVAL '1 minute', 1 + 1), (now(), 3)").await;
    assert_eq!(cluster.rows("SELECT i FROM d WHERE ts > now() - INTERVAL '1 hour' ORDER BY ts").await, ["3", "2"]);
    for (sql, text) in [
        ("INSERT INTO d (ts, u) VALUES (5, 256)", "256 does not fit type UInt8"),
        ("INSERT INTO d (ts, i) VALUES (5, 'abc')", "'abc' does not fit type Int32"),
        ("INSERT INTO d (ts, j) VALUES (5, '{')", "does not fit type Json"),
        ("INSERT INTO d (i) VALUES (5)", "column 'ts' must not be null"),
        ("INSERT INTO d (ts, b) VALUES (5, NULL)", "column 'b' must not be null"),
        ("INSERT INTO d (ts, i) VALUES (5)", "1 values for 2 columns"),
        ("INSERT INTO d (ts, nope) VALUES (5, 1)", "column 'nope' not found"),
        ("INSERT INTO d (ts, i) SELECT 1, 3000000000", "column 'i'"),
    ] {
        let error = cluster.error(sql).await;
        assert!(error.to_string().contains(text), "{sql}: {error}");
    }
}

#[tokio::test]
async fn a_query_feeds_an_insert() {
    let cluster = cpu(2, 3).await;
    cluster.exec("CREATE TABLE copy (host STRING PRIMARY KEY, at TIMESTAMP(9) TIME INDEX, top FLOAT)").await;
    let count = cluster.exec("INSERT INTO copy SELECT host, max(ts), max(usage) FROM cpu GROUP BY host").await;
    assert_eq!(count, 4);
    assert_eq!(cluster.rows("SELECT * FROM copy WHERE host > 'h2'").await, ["h3|1970-01-01T00:00:00.011|11.5"]);
}

#[tokio::test]
async fn deletes_take_tags_and_time_and_nothing_else() {
    let cluster = cpu(3, 4).await;
    assert_eq!(cluster.exec("DELETE FROM cpu WHERE host = 'h1' AND ts < 6").await, 2);
    assert_eq!(cluster.exec("DELETE FROM cpu WHERE 1 = 2").await, 0);
    assert_eq!(cluster.rows("SELECT count(*) FROM cpu").await, ["10"]);
    let error = cluster.error("DELETE FROM cpu WHERE usage > 3").await;
    assert_eq!(error.reason(), Reason::Unsupported);
    let error = cluster.error("DELETE FROM cpu WHERE host = 'h1' OR ts = 3").await;
    assert_eq!(error.reason(), Reason::Unsupported);
    assert_eq!(cluster.exec("DELETE FROM cpu").await, 10);
}

#[tokio::test]
async fn tables_change_and_the_next_statement_sees_it() {
    let cluster = cpu(1, 1).await;
    cluster.exec("ALTER TABLE cpu ADD COLUMN extra BIGINT, ADD COLUMN zone STRING PRIMARY KEY").await;
    cluster.exec("INSERT INTO cpu (host, ts, extra, zone) VALUES ('z', 99, 7, 'eu')").await;
    assert_eq!(cluster.rows("SELECT host, extra, zone FROM cpu WHERE zone = 'eu'").await, ["z|7|eu"]);
    cluster.exec("ALTER TABLE cpu DROP COLUMN note; ALTER TABLE cpu RENAME cpu2").await;
    assert_eq!(cluster.error("SELECT * FROM cpu").await.reason(), Reason::Table);
    assert_eq!(cluster.error("SELECT note FROM cpu2").await.reason(), Reason::Column);
    cluster.exec("ADMIN flush_table('cpu2'); ADMIN compact_table('public.cpu2'); TRUNCATE TABLE cpu2").await;
    assert_eq!(cluster.metasrv.actions(), [RegionAction::Flush, RegionAction::Compact, RegionAction::Truncate]);
    cluster.exec("DROP TABLE cpu2").await;
    assert_eq!(cluster.error("DROP TABLE cpu2").await.kind(), ErrorKind::NotFound);
    cluster.exec("DROP TABLE IF EXISTS cpu2").await;
}

#[tokio::test]
async fn databases_hold_their_own_tables() {
    let cluster = Cluster::start(1).await;
    assert_eq!(cluster.exec("CREATE DATABASE db WITH (ttl = '7d')").await, 1);
    assert_eq!(cluster.exec("CREATE DATABASE IF NOT EXISTS db").await, 0);
    assert_eq!(cluster.error("CREATE DATABASE db").await.kind(), ErrorKind::AlreadyExists);
    cluster.exec("USE db; CREATE TABLE t (ts TIMESTAMP TIME INDEX, v DOUBLE); INSERT INTO t VALUES (1, 2)").await;
    assert_eq!(cluster.rows("SELECT v FROM db.t").await, ["2.0"]);
    assert_eq!(cluster.error("SELECT v FROM t").await.reason(), Reason::Table);
    assert_eq!(cluster.error("USE nope").await.reason(), Reason::Database);
    assert_eq!(cluster.error("CREATE TABLE nope.t (ts TIMESTAMP TIME INDEX)").await.reason(), Reason::Database);
    cluster.exec("DROP DATABASE db").await;
    assert_eq!(cluster.error("SELECT v FROM db.t").await.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn show_and_desc_print_what_greptimedb_prints() {
    let cluster = Cluster::start(1).await;
    cluster
        .exec(
            "CREATE TABLE m (host STRING, cpu DOUBLE DEFAULT 0.5, note STRING NOT NULL DEFAULT 'it''s',
             ts TIMESTAMP DEFAULT CURRENT_TIMESTAMP(), PRIMARY KEY (host), TIME INDEX (ts))
             WITH (append_mode = 'true', ttl = '1h')",
        )
        .await;
    assert_eq!(cluster.rows("SHOW TABLES").await, ["m"]);
    assert_eq!(cluster.rows("SHOW FULL TABLES LIKE 'm%'").await, ["m|BASE TABLE"]);
    assert_eq!(cluster.rows("SHOW TABLES LIKE 'x%'").await, Vec::<String>::new());
    assert_eq!(cluster.rows("SHOW DATABASES").await, ["information_schema", "pg_catalog", "public"]);
    assert_eq!(
        cluster.rows("DESC TABLE m").await,
        [
            "host|String|PRI|YES||TAG",
            "cpu|Float64||YES|0.5|FIELD",
            "note|String||NO|it's|FIELD",
            "ts|TimestampMillisecond|PRI|NO|current_timestamp()|TIMESTAMP"
        ]
    );
    assert_eq!(cluster.rows("SHOW COLUMNS FROM m WHERE Field = 'cpu'").await, ["cpu|double|YES||0.5||Float64"]);
    assert_eq!(
        cluster.rows("SHOW CREATE TABLE m").await,
        ["m|CREATE TABLE IF NOT EXISTS \"m\" (\n  \"host\" STRING NULL,\n  \"cpu\" DOUBLE NULL DEFAULT 0.5,\n  \
          \"note\" STRING NOT NULL DEFAULT 'it''s',\n  \"ts\" TIMESTAMP(3) NOT NULL DEFAULT current_timestamp(),\n  \
          TIME INDEX (\"ts\"),\n  PRIMARY KEY (\"host\")\n)\n\nENGINE=mito\nWITH(\n  append_mode = 'true',\n  \
          ttl = '1h'\n)"]
    );
    let created = cluster.rows("SHOW CREATE TABLE m").await.remove(0);
    let again = created.trim_start_matches("m|").replace("\"m\"", "\"m2\"");
    cluster.exec(&again).await;
    assert_eq!(cluster.rows("DESC m2").await, cluster.rows("DESC m").await);
    assert_eq!(cluster.rows("SHOW standard_conforming_strings").await, ["on"]);
    assert_eq!(cluster.rows("SHOW VARIABLES LIKE 'time_zone'").await, ["time_zone|UTC"]);
    assert_eq!(cluster.rows("SHOW WARNINGS").await, Vec::<String>::new());
}

#[tokio::test]
async fn settings_of_a_connection_come_back_as_changes() {
    let cluster = Cluster::start(1).await;
    let change = async |sql: &str| match cluster.run(sql).await.unwrap().remove(0) {
        Output::Set { change, .. } => change,
        other => panic!("{sql}: {other:?}"),
    };
    assert_eq!(change("SET time_zone = '+08:00'").await, SessionChange::TimeZone("+08:00".into()));
    assert_eq!(change("SET TIME ZONE 'Europe/Berlin'").await, SessionChange::TimeZone("Europe/Berlin".into()));
    assert_eq!(change("USE public").await, SessionChange::Database("public".into()));
    assert_eq!(change("SET extra_float_digits = 3").await, SessionChange::Ignored);
    assert_eq!(change("SET NAMES utf8mb4").await, SessionChange::Ignored);
    assert_eq!(change("BEGIN").await, SessionChange::Ignored);
    assert_eq!(cluster.error("SET time_zone = 'Nowhere/Else'").await.reason(), Reason::BadValue);
}

#[tokio::test]
async fn text_is_read_as_a_timestamp_of_the_sessions_zone() {
    let cluster = Cluster::start(1).await;
    cluster.exec("CREATE TABLE z (ts TIMESTAMP(0) TIME INDEX, v INT)").await;
    cluster.exec("SET time_zone = '+02:00'; INSERT INTO z VALUES ('2024-01-01 02:00:00', 1)").await;
    assert_eq!(cluster.rows("SELECT ts FROM z").await, ["2024-01-01T00:00:00"]);
    let query = "SET time_zone = '+02:00'; SELECT v FROM z WHERE ts = '2024-01-01 02:00:00'";
    assert_eq!(cluster.rows(query).await, ["1"]);
    assert_eq!(cluster.rows("SELECT v FROM z WHERE ts >= 1704067200 AND ts < 1704067201").await, ["1"]);
    assert_eq!(cluster.rows("SELECT v FROM z WHERE ts < '2024-01-01 00:00:00.5'").await, ["1"]);
}

#[tokio::test]
async fn parameters_take_the_place_of_constants() {
    let cluster = cpu(1, 1).await;
    let prepared = cluster.frontend.prepare(&cluster.session, "SELECT usage FROM cpu WHERE host = $1 AND usage > $2");
    let prepared = prepared.await.unwrap();
    assert_eq!(prepared.params.len(), 2);
    assert_eq!(prepared.schema.unwrap().field(0).name(), "usage");
    let query = Query::Sql {
        text: "SELECT count(*) FROM cpu WHERE host = $1 AND ts >= $2".into(),
        params: vec![Value::String("h1".into()), Value::I64(5)],
    };
    let outputs = cluster.frontend.run(&cluster.session, query).await.unwrap();
    assert!(matches!(outputs[..], [Output::Rows { .. }]));
    let insert = "INSERT INTO cpu (host, ts, usage) VALUES ($1, $2, $3 * 2)";
    let prepared = cluster.frontend.prepare(&cluster.session, insert).await.unwrap();
    assert_eq!(prepared.params.len(), 3);
    assert!(prepared.params[0].is_some() && prepared.params[2].is_none());
    let params = vec![Value::String("p".into()), Value::I64(77), Value::F64(1.5)];
    cluster.frontend.run(&cluster.session, Query::Sql { text: insert.into(), params }).await.unwrap();
    assert_eq!(cluster.rows("SELECT usage FROM cpu WHERE host = 'p'").await, ["3.0"]);
}

#[tokio::test]
async fn explain_shows_the_fragments() {
    let cluster = cpu(3, 3).await;
    let rows = cluster.rows("EXPLAIN SELECT host, avg(usage) FROM cpu WHERE host <> 'h9' GROUP BY host").await;
    assert!(rows[1].contains("FragmentExec: fragments=3"), "{}", rows[1]);
    assert!(rows[1].contains("mode=Partial"), "{}", rows[1]);
    assert!(rows[1].contains("NotIn([\"h9\"])"), "{}", rows[1]);
    let rows = cluster.rows("EXPLAIN ANALYZE SELECT * FROM cpu").await;
    assert!(rows[0].contains("output_rows=12"), "{}", rows[0]);
}

#[tokio::test]
async fn joins_pause_so_that_a_query_can_end() {
    let cluster = cpu(1, 1).await;
    let rows = cluster.rows("EXPLAIN SELECT count(*) FROM cpu a, cpu b").await;
    assert!(rows[1].contains("CooperativeExec\n"), "{}", rows[1]);
    let count = "SELECT count(*) FROM generate_series(1, 300) a, generate_series(1, 300) b";
    assert_eq!(cluster.rows(count).await, ["90000"]);
}

#[tokio::test]
async fn errors_have_the_kind_that_wires_map() {
    let cluster = cpu(1, 1).await;
    for (sql, kind, reason) in [
        ("SELEC 1", ErrorKind::InvalidRequest, Reason::Syntax),
        ("SELECT 1; SELECT (", ErrorKind::InvalidRequest, Reason::Syntax),
        ("SELECT nope FROM cpu", ErrorKind::NotFound, Reason::Column),
        ("SELECT * FROM nope", ErrorKind::NotFound, Reason::Table),
        ("SELECT * FROM nope.cpu", ErrorKind::NotFound, Reason::Table),
        ("SELECT nope(1)", ErrorKind::InvalidRequest, Reason::Plan),
        ("TQL EVAL (0, 1, '1s') up", ErrorKind::InvalidRequest, Reason::Unsupported),
        ("CREATE TABLE cpu (ts TIMESTAMP TIME INDEX)", ErrorKind::AlreadyExists, Reason::Table),
        ("CREATE TABLE x (v DOUBLE)", ErrorKind::InvalidRequest, Reason::BadValue),
        ("UPDATE cpu SET usage = 1", ErrorKind::InvalidRequest, Reason::Unsupported),
    ] {
        let error = cluster.error(sql).await;
        assert_eq!((error.kind(), error.reason()), (kind, reason), "{sql}: {error}");
    }
}

#[tokio::test]
async fn a_query_ends_at_its_deadline() {
    let cluster = cpu(1, 1).await;
    let session = Session { timeout: std::time::Duration::ZERO, ..cluster.session.clone() };
    let query =
        Query::Sql { text: "SELECT count(*) FROM cpu a, cpu b, cpu c, cpu d, cpu e, cpu f".into(), params: vec![] };
    let error = cluster.frontend.run(&session, query).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn a_mysql_client_prepares_with_question_marks() {
    let mut cluster = cpu(1, 1).await;
    cluster.session = Session { timeout: std::time::Duration::from_secs(20), ..Session::new(Wire::Mysql) };
    for (text, params) in [
        ("SELECT usage FROM cpu WHERE host = ? AND ts >= ? LIMIT ?", 3),
        ("SELECT ?, ? + 1", 2),
        ("INSERT INTO cpu (host, dc, ts, usage) VALUES (?, 'x', ?, ?)", 3),
        ("DELETE FROM cpu WHERE host = ?", 1),
        ("SHOW TABLES", 0),
        ("BEGIN", 0),
    ] {
        let prepared = cluster.frontend.prepare(&cluster.session, text).await;
        assert_eq!(prepared.unwrap_or_else(|error| panic!("{text}: {error}")).params.len(), params, "{text}");
    }
    let params = vec![Value::String("h1".into()), Value::I64(5), Value::I64(1)];
    let text = "SELECT usage FROM cpu WHERE host = ? AND ts >= ? LIMIT ?".to_owned();
    let outputs = cluster.frontend.run(&cluster.session, Query::Sql { text, params }).await.unwrap();
    assert!(matches!(outputs[..], [Output::Rows { .. }]));
}

#[tokio::test]
async fn the_deepest_statements_that_are_taken_run_and_the_next_are_refused() {
    let cluster = Cluster::start(1).await;
    cluster.exec("CREATE TABLE d (host STRING PRIMARY KEY, ts TIMESTAMP TIME INDEX, v BIGINT)").await;
    cluster.exec("INSERT INTO d VALUES ('a', 1, 1)").await;
    let statements = |links: [usize; 4]| {
        [
            (format!("SELECT v{} AS n FROM d", "+v".repeat(links[0])), links[0] + 1),
            (format!("SELECT v FROM d WHERE v = 1{}", " OR v = 2".repeat(links[1])), 1),
            (
                format!("SELECT sum(v) FROM (SELECT v FROM d{})", " UNION ALL SELECT v FROM d".repeat(links[2])),
                links[2] + 1,
            ),
            (
                format!(
                    "SELECT d.v FROM d{}",
                    (0..links[3]).map(|n| format!(" JOIN d d{n} ON d{n}.host = d.host")).collect::<String>()
                ),
                1,
            ),
        ]
    };
    for (text, expected) in statements([990, 490, 90, 110]) {
        assert_eq!(cluster.rows(&text).await, [expected.to_string()], "{}", &text[..60]);
    }
    for (text, _) in statements([1010, 510, 110, 130]) {
        let error = cluster.batches(&text).await.unwrap_err();
        assert!(error.message().contains("nests too deep"), "{error}");
    }
}
