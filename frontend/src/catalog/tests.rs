use varve_model::Reason;
use varve_protocol::session::{Session, Wire};

use crate::fake::Cluster;

async fn cluster() -> Cluster {
    let cluster = Cluster::start(1).await;
    cluster
        .exec(
            "CREATE TABLE t (host STRING PRIMARY KEY, ts TIMESTAMP(3) DEFAULT now() TIME INDEX,
             v DOUBLE COMMENT 'how much', n INT NOT NULL DEFAULT 3); CREATE DATABASE other;
             CREATE TABLE other.hidden (ts TIMESTAMP TIME INDEX)",
        )
        .await;
    cluster
}

#[tokio::test]
async fn every_query_of_psqls_commands_is_answered() {
    let cluster = cluster().await;
    let oid = cluster.rows("SELECT oid FROM pg_class WHERE relname = 't'").await.remove(0);
    let mut failed = Vec::new();
    for part in include_str!("tests/psql.sql").split("\n-- ").skip(1) {
        let (command, query) = part.split_once('\n').unwrap();
        if let Err(error) = cluster.batches(&query.replace("{oid}", &oid)).await {
            failed.push(format!("{command}: {query}\n{error:?}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

#[tokio::test]
async fn psql_lists_the_sessions_tables_and_describes_columns() {
    let cluster = cluster().await;
    let tables = cluster
        .rows(
            "SELECT n.nspname, c.relname, pg_catalog.pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class c
             LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relkind IN ('r','p','') AND n.nspname <> 'pg_catalog' AND n.nspname !~ '^pg_toast'
             AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1, 2",
        )
        .await;
    assert_eq!(tables, ["public|t|varve"]);
    let columns = cluster
        .rows(
            "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),
             (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid, true) FROM pg_catalog.pg_attrdef d
              WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef), a.attnotnull
             FROM pg_attribute a WHERE a.attrelid = 't'::regclass AND a.attnum > 0 ORDER BY a.attnum",
        )
        .await;
    assert_eq!(
        columns,
        [
            "host|text||false",
            "ts|timestamp without time zone|current_timestamp()|true",
            "v|double precision||false",
            "n|integer|3|true"
        ]
    );
    assert_eq!(cluster.rows("SELECT col_description('t'::regclass, 3)").await, ["how much"]);
}

#[tokio::test]
async fn numbers_of_objects_derive_from_their_ids() {
    let (one, two) = (cluster().await, cluster().await);
    let query = "SELECT relname, oid FROM pg_class ORDER BY 1";
    assert_eq!(one.rows(query).await, two.rows(query).await);
}

#[tokio::test]
async fn clients_learn_who_and_where_they_are() {
    let cluster = cluster().await;
    assert!(cluster.rows("SELECT version()").await[0].starts_with("PostgreSQL 15"));
    assert_eq!(cluster.rows("SELECT current_schema(), current_database()").await, ["public|public"]);
    assert_eq!(cluster.rows("SELECT pg_catalog.current_schemas(true)").await, ["[public]"]);
    assert_eq!(cluster.rows("SELECT current_user").await, ["varve"]);
}

#[tokio::test]
async fn information_schema_shows_tables_columns_and_regions() {
    let cluster = cluster().await;
    let query = "SELECT table_schema, table_name, table_type FROM information_schema.tables
                 WHERE table_type = 'BASE TABLE' ORDER BY 1, 2";
    assert_eq!(cluster.rows(query).await, ["other|hidden|BASE TABLE", "public|t|BASE TABLE"]);
    let query = "SELECT column_name, data_type, semantic_type, is_nullable FROM information_schema.columns
                 WHERE table_name = 't' ORDER BY ordinal_position";
    assert_eq!(
        cluster.rows(query).await,
        ["host|string|TAG|Yes", "ts|timestamp(3)|TIMESTAMP|No", "v|double|FIELD|Yes", "n|int|FIELD|No"]
    );
    let query = "SELECT region_number, node_id, status FROM information_schema.regions WHERE table_name = 't'";
    assert_eq!(cluster.rows(query).await, ["0|1|open"]);
    let query = "SELECT schema_name FROM information_schema.schemata ORDER BY 1";
    assert_eq!(cluster.rows(query).await, ["information_schema", "other", "pg_catalog", "public"]);
}

/// A cluster whose session came over the MySQL wire.
pub(super) async fn mysql() -> Cluster {
    let mut cluster = cluster().await;
    cluster.session = Session { connection: 42, user: "me".to_owned(), ..Session::new(Wire::Mysql) };
    cluster
}

#[tokio::test]
async fn mysqls_drivers_get_the_variables_they_ask_for() {
    let cluster = mysql().await;
    for (query, expected) in [
        ("SELECT @@version_comment LIMIT 1", "varve"),
        ("SELECT @@max_allowed_packet, @@session.autocommit, @@global.read_only", "1048576|1|0"),
        ("SELECT @@SESSION.transaction_isolation, @@tx_isolation", "READ-COMMITTED|READ-COMMITTED"),
        ("SELECT @@time_zone, @@system_time_zone, @nothing", "UTC|UTC|"),
        ("SELECT CONNECTION_ID(), USER(), DATABASE(), SCHEMA(), LAST_INSERT_ID()", "42|me|public|public|0"),
        ("SELECT 1 FROM DUAL", "1"),
        ("SELECT UCASE('a'), LCASE('B'), LOCATE('b', 'abc')", "A|b|2"),
        ("SELECT CURRENT_USER(), current_user, IF(1 > 2, 'a', IF(true, 'b', 'c'))", "me|me|b"),
        ("SELECT host FROM t WHERE n > @@auto_increment_increment FOR UPDATE", ""),
        ("SHOW VARIABLES LIKE 'tx_isolation'", "tx_isolation|READ-COMMITTED"),
        ("SHOW SESSION VARIABLES WHERE Variable_name = 'sql_mode'", "sql_mode|ANSI_QUOTES,PIPES_AS_CONCAT"),
        ("SHOW COLLATION WHERE Charset = 'utf8mb4'", "utf8mb4_bin|utf8mb4|46|Yes|Yes|1|NO PAD"),
        ("SHOW CHARACTER SET", "utf8mb4|UTF-8 Unicode|utf8mb4_bin|4"),
        ("SHOW SESSION STATUS LIKE 'Ssl_cipher'", ""),
        ("SHOW PROCEDURE STATUS", ""),
    ] {
        assert_eq!(cluster.rows(query).await.join("/"), expected, "{query}");
    }
    assert!(cluster.rows("SHOW TABLE STATUS LIKE 't'").await[0].starts_with("t|mito|"));
    assert!(cluster.rows("SELECT VERSION()").await[0].starts_with("8.4.2-varve-"));
    assert_eq!(cluster.error("SELECT @@nonsense").await.reason(), Reason::Unsupported);
}

#[tokio::test]
async fn a_statement_as_long_as_the_advertised_packet_is_taken() {
    let cluster = mysql().await;
    let limit = cluster.rows("SELECT @@max_allowed_packet").await[0].parse::<usize>().unwrap();
    let (head, tail) = ("INSERT INTO t (host, ts, v) VALUES ('", "', 1, 2.5)");
    // A packet is one byte for the command and the text.
    let host = "x".repeat(limit - 1 - head.len() - tail.len());
    let error = cluster.run(&format!("{head}{host}{tail}")).await.map(drop);
    assert!(!matches!(&error, Err(error) if error.reason() == Reason::TooLarge), "{error:?}");
}

#[tokio::test]
async fn mysqls_clients_see_columns_named_by_their_text() {
    let cluster = mysql().await;
    cluster.exec("INSERT INTO t (host, ts, v) VALUES ('a', 1, 2.5)").await;
    for (query, expected) in [
        ("SELECT 1, 'x', -1", "1,x,-1"),
        ("SELECT count(*), MAX(v), v + 1, host FROM t GROUP BY host, v", "count(*),MAX(v),v + 1,host"),
        (
            "SELECT DATABASE(), @@version_comment, @@session.autocommit",
            "DATABASE(),@@version_comment,@@session.autocommit",
        ),
        ("SELECT t.host, `v` AS w FROM t ORDER BY max(v) OVER ()", "host,w"),
        ("SELECT sum(v) FROM t HAVING sum(v) > 1 ORDER BY sum(v)", "sum(v)"),
        ("SELECT * FROM t WHERE host = 'it\\'s' OR v > 1", "host,ts,v,n"),
    ] {
        let batches = cluster.batches(query).await.unwrap_or_else(|error| panic!("{query}: {error}"));
        let schema = batches[0].schema();
        let names = schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>();
        assert_eq!(names.join(","), expected, "{query}");
    }
}
