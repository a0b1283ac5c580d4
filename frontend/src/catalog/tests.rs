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
