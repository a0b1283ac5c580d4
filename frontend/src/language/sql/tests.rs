use varve_model::schema::{ColumnDefault, ColumnRole, LogicalType};
use varve_model::table::{MergeMode, Ttl};
use varve_model::time::TimeUnit;
use varve_model::value::Value;
use varve_model::{Error, Reason};
use varve_query::zone::Zone;

use super::*;

fn one(text: &str) -> Statement {
    let mut statements = parse(text, Zone::parse("UTC").unwrap()).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(statements.len(), 1, "{text}");
    statements.remove(0)
}

fn error(text: &str) -> Error {
    match parse(text, Zone::parse("UTC").unwrap()) {
        Err(error) => error,
        Ok(statements) => panic!("{text} parsed as {statements:?}"),
    }
}

fn table(text: &str) -> CreateTable {
    match one(text) {
        Statement::CreateTable(create) => *create,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn create_table_takes_keys_inline_and_as_constraints() {
    let inline = table("create table T (Host string primary key, ts timestamp(3) time index, \"V\" double,)");
    let listed = table("CREATE TABLE t (host STRING, ts TIMESTAMP, \"V\" DOUBLE, TIME INDEX (ts), PRIMARY KEY (host))");
    assert_eq!(inline, listed, "names fold to lower case unless quoted");
    let roles = listed.columns.iter().map(|column| column.role).collect::<Vec<_>>();
    assert_eq!(roles, [ColumnRole::Tag, ColumnRole::TimeIndex, ColumnRole::Field]);
    assert_eq!(listed.columns[2].name, "V");
}

#[test]
fn every_type_name_has_its_logical_type() {
    let cases = [
        ("INT", LogicalType::Int32),
        ("int8", LogicalType::Int64),
        ("int2", LogicalType::Int16),
        ("TINYINT", LogicalType::Int8),
        ("INT UNSIGNED", LogicalType::UInt32),
        ("BIGINT UNSIGNED", LogicalType::UInt64),
        ("uint8", LogicalType::UInt8),
        ("uint64", LogicalType::UInt64),
        ("float", LogicalType::Float32),
        ("float4", LogicalType::Float32),
        ("FLOAT64", LogicalType::Float64),
        ("DOUBLE PRECISION", LogicalType::Float64),
        ("VARCHAR(20)", LogicalType::String),
        ("TEXT", LogicalType::String),
        ("varbinary", LogicalType::Binary),
        ("BYTEA", LogicalType::Binary),
        ("JSON", LogicalType::Json),
        ("date", LogicalType::Date),
        ("datetime", LogicalType::Timestamp(TimeUnit::Microsecond)),
        ("timestamp", LogicalType::Timestamp(TimeUnit::Millisecond)),
        ("TIMESTAMP(9)", LogicalType::Timestamp(TimeUnit::Nanosecond)),
        ("TimestampSecond", LogicalType::Timestamp(TimeUnit::Second)),
        ("timestamp_us", LogicalType::Timestamp(TimeUnit::Microsecond)),
        ("BOOLEAN", LogicalType::Boolean),
    ];
    for (name, logical) in cases {
        let create = table(&format!("CREATE TABLE t (v {name}, ts TIMESTAMP TIME INDEX)"));
        assert_eq!(create.columns[0].logical, logical, "{name}");
    }
    for name in ["DECIMAL(10, 2)", "UUID", "TIMESTAMP(4)", "INTERVAL", "vector(3)"] {
        let error = error(&format!("CREATE TABLE t (v {name}, ts TIMESTAMP TIME INDEX)"));
        assert_eq!(error.reason(), Reason::Unsupported, "{name}");
    }
}

#[test]
fn options_defaults_and_comments_are_understood() {
    let create = table(
        "CREATE TABLE IF NOT EXISTS db.t (a INT DEFAULT -3 COMMENT 'x', b TIMESTAMP DEFAULT '1970-01-02 00:00:00+00:00',
         c STRING NOT NULL DEFAULT 'it''s' SKIPPING INDEX WITH (type = 'BLOOM', granularity = 10), d INT DEFAULT NULL,
         ts TIMESTAMP DEFAULT current_timestamp TIME INDEX) ENGINE = mito
         WITH (ttl = '7d', append_mode = 'true', regions = 4, 'compaction.type' = 'twcs', comment = 'c')",
    );
    assert_eq!(create.name, Name { database: Some("db".into()), table: "t".into() });
    assert_eq!((create.regions, create.options.merge_mode), (Some(4), MergeMode::Append));
    assert_eq!(create.options.ttl, Some(Ttl::For(std::time::Duration::from_hours(7 * 24))));
    let defaults = create.columns.iter().map(|column| column.default.clone()).collect::<Vec<_>>();
    assert_eq!(
        defaults,
        [
            Some(ColumnDefault::Value(Value::I64(-3))),
            Some(ColumnDefault::Value(Value::I64(86_400_000))),
            Some(ColumnDefault::Value(Value::String("it's".into()))),
            None,
            Some(ColumnDefault::CurrentTimestamp)
        ]
    );
    assert_eq!(create.columns[0].comment.as_deref(), Some("x"));
}

#[test]
fn wrong_definitions_say_why() {
    let cases = [
        ("CREATE TABLE t (v DOUBLE)", "exactly one TIME INDEX"),
        ("CREATE TABLE t (a TIMESTAMP TIME INDEX, b TIMESTAMP TIME INDEX)", "exactly one TIME INDEX"),
        ("CREATE TABLE t (a STRING PRIMARY KEY, b STRING PRIMARY KEY, ts TIMESTAMP TIME INDEX)", "one column only"),
        ("CREATE TABLE t (ts TIMESTAMP TIME INDEX, PRIMARY KEY (ts))", "TIME INDEX and cannot"),
        ("CREATE TABLE t (ts TIMESTAMP TIME INDEX, PRIMARY KEY (x))", "'x' of the key does not exist"),
        ("CREATE TABLE t (ts TIMESTAMP TIME INDEX) WITH (foo = 1)", "unrecognized table option 'foo'"),
        ("CREATE TABLE t (ts TIMESTAMP TIME INDEX) WITH (ttl = 'soon')", "invalid ttl"),
        ("CREATE TABLE t (ts TIMESTAMP TIME INDEX) WITH (append_mode = 'true', merge_mode = 'last_row')", "exclude"),
        ("CREATE TABLE t (a INT, ts TIMESTAMP TIME INDEX) PARTITION ON COLUMNS (a) (a < 1)", "PARTITION ON COLUMNS"),
        ("CREATE TABLE t (ts TIMESTAMP DEFAULT now TIME INDEX)", "no constant"),
        ("CREATE TABLE t (a INT DEFAULT 'x', ts TIMESTAMP TIME INDEX)", "'x' does not fit"),
        ("CREATE VIEW v AS SELECT 1", "CREATE VIEW is not supported"),
        ("ALTER TABLE t MODIFY COLUMN a BIGINT", "MODIFY is not supported"),
        ("ALTER TABLE t ADD COLUMN a INT FIRST", "FIRST or AFTER"),
        ("ALTER TABLE t ADD COLUMN a INT NOT NULL", "no default"),
        ("SELECT 1 SELECT 2", "end of statement"),
        ("DROP VIEW v", "DROP VIEW is not supported"),
        ("ADMIN migrate_region('x')", "ADMIN migrate_region is not supported"),
        ("DELETE FROM a, b", "several tables"),
    ];
    for (text, why) in cases {
        let error = error(text);
        assert!(error.message().contains(why), "{text}: {error}");
    }
}

#[test]
fn a_text_holds_many_statements_and_blanks_between_them() {
    let zone = Zone::parse("UTC").unwrap();
    assert_eq!(parse(" ;; SELECT 1 ;; -- nothing\n SELECT 2; ", zone).unwrap().len(), 2);
    assert_eq!(parse("", zone).unwrap(), []);
    assert_eq!(parse("/* only a comment */", zone).unwrap(), []);
}

/// Chains that nest to the left, of so many links, and the limit of each.
fn chains(links: usize) -> Vec<String> {
    vec![
        format!("SELECT 1{}", "+1".repeat(links)),
        format!("SELECT * FROM t WHERE a = 1{}", " OR a = 1".repeat(links / 2)),
        format!("SELECT 1{}", "::BIGINT".repeat(links)),
        format!("SELECT 1{}", " IS NULL".repeat(links)),
        format!("SELECT {}1{}", "(".repeat(50), format!("{})", "+1".repeat(links / 50)).repeat(50)),
        format!("SELECT (1){}", "+(1)".repeat(links)),
        format!("SELECT a{} FROM t", "[1]".repeat(links)),
        format!("INSERT INTO t VALUES (1{})", "-1".repeat(links)),
        format!("DELETE FROM t WHERE a = 1{}", " AND a = 1".repeat(links / 2)),
        format!("CREATE TABLE t (a INT DEFAULT 1{}, ts TIMESTAMP TIME INDEX)", "+1".repeat(links)),
        format!("SHOW TABLES WHERE 1{}", "+1".repeat(links)),
    ]
}

#[test]
fn chains_are_bounded_and_lists_are_not() {
    for text in chains(3 * depth::OPERATORS_MAX) {
        assert!(error(&text).message().contains("nests too deep"), "{}", &text[..60]);
    }
    for text in chains(depth::OPERATORS_MAX / 3) {
        // The default of a column must be a constant: that is another error.
        let refused = parse(&text, Zone::parse("UTC").unwrap()).err();
        assert!(refused.is_none_or(|error| error.message().contains("no constant")), "{}", &text[..60]);
    }
    let zone = || Zone::parse("UTC").unwrap();
    let many = |links: usize| {
        [
            format!("SELECT 1{}", " UNION SELECT 1".repeat(links)),
            format!("SELECT * FROM t{}", " JOIN t USING (a)".repeat(links)),
            format!("SELECT * FROM t{}", ", t".repeat(links)),
            format!("WITH a AS (SELECT 1){} SELECT 1", ", a AS (SELECT * FROM a)".repeat(links)),
            format!("SELECT * FROM t WHERE a IN (SELECT 1 FROM t{})", ", t".repeat(links)),
            format!("DELETE FROM t WHERE a IN (SELECT 1 FROM t{})", ", t".repeat(links)),
        ]
    };
    for text in many(130) {
        assert!(error(&text).message().contains("nests too deep"), "{}", &text[..60]);
    }
    for text in many(30) {
        parse(&text, zone()).unwrap();
    }
    // What is wide is not deep.
    parse(&format!("SELECT a FROM t WHERE a IN (1{})", ",1".repeat(50_000)), zone()).unwrap();
    parse(&format!("INSERT INTO t VALUES (-1){}", ",(-1)".repeat(50_000)), zone()).unwrap();
    parse(&"SELECT 1+1;".repeat(5000), zone()).unwrap();
}

#[test]
fn no_text_overflows_the_stack_or_panics() {
    let deep = format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000));
    assert_eq!(error(&deep).reason(), Reason::Syntax);
    let huge = "x".repeat(varve_model::limits::SQL_TEXT_BYTES_MAX + 1);
    assert_eq!(error(&huge).reason(), Reason::TooLarge);
    for text in [
        "'",
        "CREATE",
        "CREATE TABLE",
        "CREATE TABLE t (",
        "INSERT INTO",
        "SHOW",
        "SET",
        "ALTER TABLE t",
        "ADMIN x(",
        "DELETE",
        "DROP",
        "EXPLAIN",
        "\0",
        "SELECT $$",
        "INSERT INTO t VALUES (",
        "USE",
        "DESC",
    ] {
        let _ = parse(text, Zone::parse("UTC").unwrap());
    }
}

#[test]
fn statements_of_clients_are_recognised() {
    assert_eq!(one("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"), Statement::Set(Setting::Ignored));
    assert_eq!(one("SET @@session.autocommit = 1"), Statement::Set(Setting::Ignored));
    assert_eq!(one("set timezone = 'UTC'"), Statement::Set(Setting::TimeZone("UTC".into())));
    assert_eq!(one("SET search_path TO db, public"), Statement::Set(Setting::Database("db".into())));
    assert_eq!(one("START TRANSACTION READ ONLY"), Statement::Transaction("START TRANSACTION"));
    assert_eq!(one("ROLLBACK TO SAVEPOINT x"), Statement::Transaction("ROLLBACK"));
    let show = |text: &str| match one(text) {
        Statement::Show(show) => show,
        other => panic!("{text}: {other:?}"),
    };
    let named = |name: &str| Show::Variables { name: Some(name.into()), filter: ShowFilter::All };
    assert_eq!(show("SHOW TRANSACTION ISOLATION LEVEL"), named("transaction_isolation"));
    assert_eq!(show("SHOW search_path"), named("search_path"));
    assert_eq!(
        show("SHOW FULL TABLES IN db LIKE 'a%'"),
        Show::Tables { full: true, database: Some("db".into()), filter: ShowFilter::Like("a%".into()) }
    );
}

/// One statement of a MySQL client.
fn mysql(text: &str) -> Statement {
    let statements = parse_mysql(text, Zone::parse("UTC").unwrap());
    let mut statements = statements.unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(statements.len(), 1, "{text}");
    statements.remove(0)
}

#[test]
fn mysqls_texts_follow_mysqls_rules_and_mean_the_same() {
    for (written, same) in [
        ("SELECT 'it\\'s'", "SELECT 'it''s'"),
        ("SELECT 'a\\\\' FROM t", "SELECT 'a\\' FROM t"),
        ("SELECT `Host` FROM `db`.`t` LIMIT 2, 3", "SELECT \"Host\" FROM \"db\".\"t\" LIMIT 3 OFFSET 2"),
        ("INSERT INTO t VALUES (?, ?, 1 + ?)", "INSERT INTO t VALUES ($1, $2, 1 + $3)"),
        ("/* app */ SELECT 1 -- end", "SELECT 1"),
        ("/*!40101 SET NAMES utf8 */", "SET NAMES utf8"),
    ] {
        let (written_as, same_as) = (mysql(written), one(same));
        match (&written_as, &same_as) {
            // The places of tokens differ, and how names were quoted.
            (Statement::Query(a), Statement::Query(b)) => {
                assert_eq!(a.to_string().replace('`', "\"").replace("LIMIT 2, 3", "LIMIT 3 OFFSET 2"), b.to_string());
            }
            (Statement::Insert(a), Statement::Insert(b)) => {
                let rows = |insert: &Insert| match &insert.source {
                    InsertSource::Values(rows) => rows.concat().iter().map(ToString::to_string).collect::<Vec<_>>(),
                    InsertSource::Query(_) => Vec::new(),
                };
                assert_eq!(rows(a), rows(b));
            }
            _ => assert_eq!(written_as, same_as, "{written}"),
        }
    }
    // By the rules of the other wires this text ends at the second quote.
    assert!(parse("SELECT 'it\\'s'", Zone::parse("UTC").unwrap()).is_err());
    assert!(parse_mysql("SELECT 'open", Zone::parse("UTC").unwrap()).is_err());
}

#[test]
fn a_time_zone_is_found_among_other_settings() {
    let zone = |zone: &str| Statement::Set(Setting::TimeZone(zone.into()));
    for (text, expected) in [
        ("SET autocommit=1, time_zone='+8:00'", zone("+08:00")),
        ("SET @@session.time_zone = \"SYSTEM\", sql_mode = ''", zone("UTC")),
        ("SET TIME_ZONE=@OLD_TIME_ZONE", Statement::Set(Setting::Ignored)),
        ("SET @OLD_TIME_ZONE=@@TIME_ZONE", Statement::Set(Setting::Ignored)),
        ("SET NAMES 'utf8mb4' COLLATE 'utf8mb4_bin'", Statement::Set(Setting::Ignored)),
        ("SET character_set_results = NULL", Statement::Set(Setting::Ignored)),
        ("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", Statement::Set(Setting::Ignored)),
    ] {
        assert_eq!(mysql(text), expected, "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn mysqls_texts_never_panic(text in "[ ;'\"`\\\\/*!#?@\\-a-zA-Z=0-9(),.\n]{0,80}") {
        let _ = parse_mysql(&text, Zone::parse("UTC").unwrap());
    }
}
