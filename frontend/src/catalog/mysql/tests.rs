use crate::catalog::tests::mysql;
use crate::fake::Cluster;

/// A MySQL session over tables of all kinds of columns, with keys and without.
async fn tables() -> Cluster {
    let cluster = mysql().await;
    cluster
        .exec(
            "CREATE TABLE cpu (`host` STRING, dc STRING, ts TIMESTAMP(3) DEFAULT now() TIME INDEX, `usage` DOUBLE,
                 n BIGINT UNSIGNED, ok BOOLEAN COMMENT 'it''s \\\\ up', b BINARY, at TIMESTAMP(9), d DATE, j JSON,
                 PRIMARY KEY (`host`, dc)) WITH ('comment' = 'of hosts');
             CREATE TABLE logs (ts TIMESTAMP TIME INDEX, line STRING) WITH (append_mode = 'true');
             INSERT INTO cpu (`host`, ts, `usage`, n, ok) VALUES ('Ab', 1, 1.5, 7, true)",
        )
        .await;
    cluster
}

#[tokio::test]
async fn functions_of_texts_take_any_type() {
    let cluster = tables().await;
    for (query, expected) in [
        ("SELECT UPPER(n), LOWER(`host`), UPPER(`usage`), UCASE(ok), UPPER(NULL) FROM cpu", "7|ab|1.5|1|"),
        ("SELECT UPPER(12), LENGTH(345), CHAR_LENGTH(n), REVERSE(12) FROM cpu", "12|3|1|21"),
        ("SELECT CONCAT(`host`, '-', n, ok), CONCAT(1, 'b'), CONCAT('a', dc) FROM cpu", "Ab-71|1b|"),
        (
            "SELECT LOCATE(4, 345), SUBSTRING(345, 2), SUBSTRING(n, 1, 1), MID('abc', 2, 1), TRIM(5) FROM cpu",
            "2|45|7|b|5",
        ),
        ("SELECT LEAST(n, 3), LEAST(n, NULL), GREATEST(1, n, 9), GREATEST(NULL, 1) FROM cpu", "3||9|"),
        (
            "SELECT CAST('7' AS SIGNED INTEGER), CAST(n AS UNSIGNED), CONVERT('8', SIGNED), CONVERT(n, CHAR) FROM cpu",
            "7|7|8|7",
        ),
        ("SELECT CONVERT(`host` USING utf8mb4) FROM cpu WHERE UPPER(`host`) = 'AB' AND CONCAT(n) = '7'", "Ab"),
        ("SELECT UPPER(CASE WHEN n > 1 THEN 4 WHEN n > 2 THEN n ELSE NULL END) FROM cpu", "4"),
        ("SELECT UPPER(MAX(n)) FROM cpu GROUP BY UPPER(`host`) ORDER BY UPPER(`host`)", "7"),
        ("SELECT IF(n COLLATE utf8mb4_bin LIKE '%7%', 'y', 'n') FROM cpu", "y"),
    ] {
        assert_eq!(cluster.rows(query).await.join("/"), expected, "{query}");
    }
}

#[tokio::test]
async fn words_of_the_catalog_are_compared_without_regard_to_case() {
    let cluster = tables().await;
    for (query, expected) in [
        ("column_name FROM information_schema.columns WHERE table_name = 'cpu' AND is_nullable = 'no'", "ts"),
        (
            "column_name FROM INFORMATION_SCHEMA.COLUMNS c WHERE c.TABLE_NAME = 'cpu' AND 'Pri' = c.COLUMN_KEY",
            "host/dc/ts",
        ),
        (
            "column_name FROM information_schema.columns WHERE table_name = 'cpu' AND data_type IN ('JSON', 'BLOB')",
            "b/j",
        ),
        (
            "table_name FROM information_schema.tables WHERE table_type LIKE 'base%' AND table_schema = 'public'",
            "cpu/logs/t",
        ),
        ("IF(is_nullable = 'yes', 1, 0) FROM information_schema.columns WHERE table_name = 'logs'", "0/1"),
        ("table_name FROM information_schema.tables WHERE table_name = 'CPU'", ""),
        ("`host` FROM cpu WHERE `host` = 'ab'", ""),
    ] {
        assert_eq!(cluster.rows(&format!("SELECT {query}")).await.join("/"), expected, "{query}");
    }
}

#[tokio::test]
async fn columns_have_mysqls_types_and_keys() {
    let cluster = tables().await;
    let query = "SELECT column_name, data_type, column_type, is_nullable, column_key, extra, datetime_precision
                 FROM information_schema.columns WHERE table_name = 'cpu' ORDER BY ordinal_position";
    assert_eq!(
        cluster.rows(query).await,
        [
            "host|text|text|YES|PRI||",
            "dc|text|text|YES|PRI||",
            "ts|timestamp|timestamp(3)|NO|PRI|DEFAULT_GENERATED|3",
            "usage|double|double|YES|||",
            "n|bigint|bigint unsigned|YES|||",
            "ok|tinyint|tinyint(1)|YES|||",
            "b|blob|blob|YES|||",
            "at|timestamp|timestamp(6)|YES|||6",
            "d|date|date|YES|||",
            "j|json|json|YES|||",
        ]
    );
    let shown = cluster.rows("SHOW FULL COLUMNS FROM cpu").await;
    assert_eq!(shown[0], "host|text|utf8mb4_bin|YES|PRI|||select,insert||String");
    assert_eq!(shown[2], "ts|timestamp(3)||NO|PRI|current_timestamp()||select,insert||TimestampMillisecond");
    assert!(shown[5].starts_with("ok|tinyint(1)||YES|"), "{}", shown[5]);
}

#[tokio::test]
async fn a_primary_key_tells_rows_apart() {
    let cluster = tables().await;
    let query = "SELECT table_name, index_name, non_unique, seq_in_index, column_name
                 FROM information_schema.statistics WHERE table_name <> 't' AND table_schema = 'public'";
    let keys = [
        "cpu|PRIMARY|0|1|host",
        "cpu|PRIMARY|0|2|dc",
        "cpu|PRIMARY|0|3|ts",
        "cpu|TIME INDEX|1|1|ts",
        "logs|SERIES|1|1|ts",
        "logs|TIME INDEX|1|1|ts",
    ];
    assert_eq!(cluster.rows(query).await, keys);
    let query = "SELECT table_name, constraint_name, constraint_type FROM information_schema.table_constraints
                 WHERE table_schema = 'public' ORDER BY 1";
    assert_eq!(cluster.rows(query).await, ["cpu|PRIMARY|PRIMARY KEY", "t|PRIMARY|PRIMARY KEY"]);
    let query = "SELECT column_name, ordinal_position FROM information_schema.key_column_usage
                 WHERE table_name = 'cpu' AND constraint_name = 'PRIMARY'";
    assert_eq!(cluster.rows(query).await, ["host|1", "dc|2", "ts|3"]);
    let shown = cluster.rows("SHOW KEYS FROM cpu FROM public WHERE Key_name = 'PRIMARY'").await;
    assert_eq!(shown.len(), 3);
    assert_eq!(shown[2], "cpu|0|PRIMARY|3|ts|A|||||BTREE|||YES|");
}

#[tokio::test]
async fn what_is_shown_of_a_table_makes_it_again() {
    let cluster = tables().await;
    for table in ["cpu", "logs", "t"] {
        let show = format!("SHOW CREATE TABLE {table}");
        let created = cluster.rows(&show).await.remove(0);
        let text = created.split_once('|').unwrap().1.to_owned();
        assert!(text.starts_with("CREATE TABLE \"") && text.contains("\n) ENGINE=mito"), "{text}");
        cluster.exec(&format!("DROP TABLE {table}; {text}")).await;
        assert_eq!(cluster.rows(&show).await, [created]);
    }
}

#[tokio::test]
async fn tables_that_tools_ask_for_are_there() {
    let cluster = tables().await;
    for table in [
        "check_constraints",
        "column_privileges",
        "events",
        "global_status",
        "parameters",
        "plugins",
        "procedure_info",
        "referential_constraints",
        "routines",
        "schema_privileges",
        "session_status",
        "table_privileges",
        "triggers",
        "views",
    ] {
        assert!(cluster.rows(&format!("SELECT * FROM information_schema.{table}")).await.is_empty(), "{table}");
    }
    for (query, expected) in [
        ("SELECT engine, support FROM information_schema.engines", "mito|DEFAULT"),
        ("SELECT character_set_name FROM information_schema.character_sets", "utf8mb4"),
        ("SELECT collation_name, id FROM information_schema.collations", "utf8mb4_bin|46"),
        ("SELECT count(*) FROM information_schema.collation_character_set_applicability", "1"),
        ("SELECT grantee FROM information_schema.user_privileges WHERE privilege_type = 'select'", "'me'@'%'"),
        (
            "SELECT partition_name, partition_method FROM information_schema.partitions WHERE table_name = 'cpu'",
            "p0|HASH",
        ),
        ("SELECT default_collation_name FROM information_schema.schemata WHERE schema_name = 'public'", "utf8mb4_bin"),
        (
            "SELECT table_comment, table_collation FROM information_schema.tables WHERE table_name = 'cpu'",
            "of hosts|utf8mb4_bin",
        ),
        (
            "SHOW GRANTS FOR CURRENT_USER()",
            "GRANT SELECT, INSERT, DELETE, CREATE, DROP, ALTER, PROCESS, SHOW DATABASES ON *.* TO `me`@`%`",
        ),
        ("SHOW COUNT(*) WARNINGS", "0"),
        ("SHOW STORAGE ENGINES", "mito|DEFAULT|Time series on object storage|NO|NO|NO"),
        ("SHOW TRIGGERS FROM public LIKE 'x'", ""),
        ("SHOW OPEN TABLES", ""),
        ("SHOW MASTER STATUS", ""),
        ("SHOW CREATE SCHEMA IF NOT EXISTS public", "public|CREATE DATABASE IF NOT EXISTS public"),
        ("SHOW COLUMNS FROM information_schema.engines LIKE 'xa'", "xa|text|YES||||String"),
    ] {
        assert_eq!(cluster.rows(query).await.join("/"), expected, "{query}");
    }
    let described = cluster.rows("DESC information_schema.region_statistics").await;
    assert_eq!(described[0], "region_id|Int64||YES||FIELD");
    assert_eq!(cluster.rows("DESC information_schema.processlist").await.len(), 8);
    assert!(cluster.error("DESC information_schema.nothing").await.to_string().contains("not found"));
}

#[tokio::test]
async fn columns_of_the_catalog_are_named_as_they_are_written() {
    let cluster = tables().await;
    for (query, expected) in [
        (
            "TABLE_NAME, table_schema, t.ENGINE AS e FROM information_schema.TABLES t ORDER BY TABLE_NAME",
            "TABLE_NAME,table_schema,e",
        ),
        (
            "TABLE_SCHEMA, COUNT(*) FROM information_schema.tables GROUP BY TABLE_SCHEMA ORDER BY TABLE_SCHEMA",
            "TABLE_SCHEMA,COUNT(*)",
        ),
        ("DISTINCT c.TABLE_NAME FROM information_schema.columns c ORDER BY c.TABLE_NAME", "table_name"),
        ("DISTINCT c.TABLE_NAME FROM information_schema.columns c", "TABLE_NAME"),
        ("DC FROM cpu", "dc"),
    ] {
        let batches =
            cluster.batches(&format!("SELECT {query}")).await.unwrap_or_else(|error| panic!("{query}: {error}"));
        let schema = batches[0].schema();
        let names = schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>();
        assert_eq!(names.join(","), expected, "{query}");
    }
}
