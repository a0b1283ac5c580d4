//! The MySQL wire with the mysql client and, where Python has them, PyMySQL and MySQL's own driver.

use varve::standalone::Adapter;

use crate::kit::{Door, Varve, have};
use crate::tools::python;

/// Runs the mysql client; what it printed, errors included.
async fn mysql(door: &Door, database: &str, text: &str) -> Option<(bool, String)> {
    let mut client = tokio::process::Command::new("mysql");
    let addr = door.mysql;
    client.args(["--no-defaults", "-h", &addr.ip().to_string(), "-P", &addr.port().to_string(), "-u", "root"]);
    let output = client.args(["-panything", "--batch", "-e", text, database]).output().await;
    if !have("mysql", output.is_ok()) {
        return None;
    }
    let output = output.expect("the client ran");
    let shown = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&shown).trim().replace('\t', "|")))
}

#[tokio::test]
async fn the_mysql_client_defines_writes_and_reads_over_both_adapters() {
    for adapter in [Adapter::InProcess, Adapter::Grpc] {
        let varve = Varve::start_with(adapter).await;
        command_line(&varve).await;
        catalog(&varve).await;
        varve.stop().await;
    }
}

/// Defines, writes and reads with the mysql client, and reads its errors.
pub(crate) async fn command_line(door: &Door) {
    let create = "CREATE TABLE m (`host` STRING PRIMARY KEY, t TIMESTAMP(3) TIME INDEX, v DOUBLE, ok BOOLEAN);
            INSERT INTO m VALUES ('it\\'s', 1000, 1.5, true), ('b', '1970-01-01 00:00:02', NULL, NULL);";
    let Some((done, shown)) = mysql(door, "public", create).await else { return };
    assert!(done, "{shown}");
    for (text, expected) in [
        (
            "SELECT * FROM m ORDER BY t",
            "host|t|v|ok\nit's|1970-01-01 00:00:01.000|1.5|1\nb|1970-01-01 00:00:02.000|NULL|NULL",
        ),
        ("SELECT max(v), count(*) FROM `m`", "max(v)|count(*)\n1.5|2"),
        ("SET time_zone = '+2:00'; SELECT t FROM m WHERE host = 'b'", "t\n1970-01-01 02:00:02.000"),
        ("SELECT DATABASE(), @@autocommit, 1 FROM dual", "DATABASE()|@@autocommit|1\npublic|1|1"),
        ("SHOW TABLES LIKE 'm%'", "Tables_in_public\nm"),
        ("SHOW VARIABLES LIKE 'autocommit'", "Variable_name|Value\nautocommit|ON"),
        ("SHOW WARNINGS", ""),
        ("/*!40101 SET NAMES utf8mb4 */; BEGIN; SELECT 1; COMMIT", "1\n1"),
    ] {
        assert_eq!(mysql(door, "public", text).await, Some((true, expected.to_owned())), "{text}");
    }
    for (database, text, expected) in [
        ("public", "SELECT * FROM nothing", "ERROR 1146 (42S02)"),
        ("public", "SELECT nothing FROM m", "ERROR 1054 (42S22)"),
        ("public", "SELEC 1", "ERROR 1064 (42000)"),
        ("public", "CREATE TABLE m (t TIMESTAMP TIME INDEX)", "ERROR 1050 (42S01)"),
        ("public", "USE nothing", "ERROR 1049 (42000)"),
        ("public", "CREATE DATABASE public", "ERROR 1007 (HY000)"),
        ("public", "UPDATE m SET v = 1", "ERROR 1235 (42000)"),
        ("public", "KILL 4000000000", "ERROR 1094 (HY000)"),
        ("nothing", "SELECT 1", "ERROR 1049 (42000)"),
    ] {
        let (done, shown) = mysql(door, database, text).await.expect("the client is there");
        assert!(!done && shown.contains(expected), "{text}: {shown}");
    }
}

/// What MySQL's and MariaDB's JDBC drivers ask for a table's columns: texts of numbers, words in any case, casts that
/// only MySQL has.
const COLUMNS: [&str; 2] = [
    "SELECT TABLE_SCHEMA, NULL, TABLE_NAME, COLUMN_NAME,
       CASE WHEN UPPER(DATA_TYPE) = 'TINYINT' THEN IF(LOCATE('UNSIGNED', UPPER(COLUMN_TYPE)) = 0
         AND LOCATE('(1)', COLUMN_TYPE) != 0, -7, -6) WHEN UPPER(DATA_TYPE) = 'DOUBLE' THEN 8
         WHEN UPPER(DATA_TYPE) = 'TIMESTAMP' THEN 93 WHEN UPPER(DATA_TYPE) = 'TEXT' THEN -1 ELSE 1111 END AS DATA_TYPE,
       UPPER(CASE WHEN LOCATE('UNSIGNED', UPPER(COLUMN_TYPE)) != 0 THEN CONCAT(DATA_TYPE, ' UNSIGNED')
         ELSE UPPER(DATA_TYPE) END) AS TYPE_NAME,
       UPPER(CASE WHEN UPPER(DATA_TYPE) = 'TIMESTAMP' THEN 19 + IF(DATETIME_PRECISION > 0, DATETIME_PRECISION + 1,
         DATETIME_PRECISION) WHEN CHARACTER_MAXIMUM_LENGTH IS NULL THEN NUMERIC_PRECISION
         WHEN CHARACTER_MAXIMUM_LENGTH > 65535 THEN 65535 ELSE CHARACTER_MAXIMUM_LENGTH END) AS COLUMN_SIZE,
       UPPER(CASE WHEN UPPER(DATA_TYPE) = 'DOUBLE' THEN IF(NUMERIC_SCALE IS NULL, 0, NUMERIC_SCALE) ELSE NULL END)
         AS DECIMAL_DIGITS,
       CASE WHEN IS_NULLABLE COLLATE utf8_bin= 'NO' THEN 0 ELSE CASE WHEN IS_NULLABLE COLLATE utf8_bin= 'YES' THEN 1
         ELSE 2 END END AS NULLABLE,
       IF (EXTRA COLLATE utf8_bin LIKE '%auto_increment%','YES','NO') AS IS_AUTOINCREMENT
     FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA = 'public' AND TABLE_NAME = 'm' AND COLUMN_NAME LIKE '%'
     ORDER BY TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION",
    "SELECT TABLE_SCHEMA TABLE_CAT, NULL TABLE_SCHEM, COLUMN_NAME,
       CASE data_type WHEN 'tinyint' THEN IF(COLUMN_TYPE like 'tinyint(1)%',16,-6) WHEN 'timestamp' THEN 93
         WHEN 'double' THEN 8 WHEN 'text' THEN -1 ELSE 1111 END DATA_TYPE,
       IF(COLUMN_TYPE like 'tinyint(1)%', 'BOOLEAN', UCASE(IF( COLUMN_TYPE LIKE '%(%)%', CONCAT(SUBSTRING( COLUMN_TYPE,1,
         LOCATE('(',COLUMN_TYPE) - 1 ), SUBSTRING(COLUMN_TYPE ,1+locate(')', COLUMN_TYPE))), COLUMN_TYPE))) TYPE_NAME,
       CASE DATA_TYPE WHEN 'date' THEN 10 WHEN 'timestamp' THEN IF(DATETIME_PRECISION = 0, 19,
         CAST(20 + DATETIME_PRECISION as signed integer)) ELSE IF(NUMERIC_PRECISION IS NULL,
         LEAST(CHARACTER_MAXIMUM_LENGTH,65535), NUMERIC_PRECISION) END COLUMN_SIZE,
       CONVERT (CASE DATA_TYPE WHEN 'tinyint' THEN 0 ELSE NUMERIC_SCALE END, UNSIGNED INTEGER) DECIMAL_DIGITS,
       IF(IS_NULLABLE = 'yes',1,0) NULLABLE, LEAST(CHARACTER_OCTET_LENGTH,65535) CHAR_OCTET_LENGTH,
       IF(EXTRA in ('VIRTUAL', 'PERSISTENT') ,'YES','NO') IS_GENERATEDCOLUMN
     FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA='public' AND TABLE_NAME='m'
     ORDER BY TABLE_CAT, TABLE_SCHEM, ORDINAL_POSITION",
];

/// What the drivers ask for keys, routines and privileges, and the rows.
const CATALOG: &[(&str, &str)] = &[
    (
        "SELECT TABLE_SCHEMA AS TABLE_CAT, COLUMN_NAME, SEQ_IN_INDEX AS KEY_SEQ, 'PRIMARY' AS PK_NAME
         FROM INFORMATION_SCHEMA.STATISTICS WHERE TABLE_NAME = 'm' AND INDEX_NAME = 'PRIMARY'
         ORDER BY TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, SEQ_IN_INDEX",
        "public|host|1|PRIMARY\npublic|t|2|PRIMARY",
    ),
    (
        "SELECT NON_UNIQUE, TABLE_SCHEMA INDEX_QUALIFIER, INDEX_NAME, 3 TYPE, SEQ_IN_INDEX ORDINAL_POSITION,
           COLUMN_NAME, COLLATION ASC_OR_DESC, CARDINALITY, NULL PAGES FROM INFORMATION_SCHEMA.STATISTICS
         WHERE TABLE_SCHEMA='public' AND TABLE_NAME = 'm' ORDER BY NON_UNIQUE, TYPE, INDEX_NAME, ORDINAL_POSITION",
        "0|public|PRIMARY|3|1|host|A|NULL|NULL\n0|public|PRIMARY|3|2|t|A|NULL|NULL\n\
         1|public|TIME INDEX|3|1|t|A|NULL|NULL",
    ),
    (
        "SELECT DISTINCT A.REFERENCED_TABLE_SCHEMA AS PKTABLE_CAT, A.COLUMN_NAME AS FKCOLUMN_NAME,
           CASE WHEN R.UPDATE_RULE = 'CASCADE' THEN 0 ELSE 1 END AS UPDATE_RULE, R.UNIQUE_CONSTRAINT_NAME AS PK_NAME
         FROM INFORMATION_SCHEMA.KEY_COLUMN_USAGE A
         JOIN INFORMATION_SCHEMA.TABLE_CONSTRAINTS B USING (CONSTRAINT_SCHEMA, CONSTRAINT_NAME, TABLE_NAME)
         JOIN INFORMATION_SCHEMA.REFERENTIAL_CONSTRAINTS R ON (R.CONSTRAINT_NAME = B.CONSTRAINT_NAME
           AND R.TABLE_NAME = B.TABLE_NAME AND R.CONSTRAINT_SCHEMA = B.TABLE_SCHEMA)
         WHERE B.CONSTRAINT_TYPE = 'FOREIGN KEY' AND A.TABLE_NAME = 'm' AND A.REFERENCED_TABLE_SCHEMA IS NOT NULL
         ORDER BY A.REFERENCED_TABLE_SCHEMA, PK_NAME",
        "",
    ),
    (
        "SELECT ROUTINE_NAME, CASE WHEN ROUTINE_TYPE = 'PROCEDURE' THEN 1 ELSE 0 END AS PROCEDURE_TYPE
         FROM INFORMATION_SCHEMA.ROUTINES WHERE ROUTINE_TYPE LIKE 'FUNCTION' ORDER BY ROUTINE_SCHEMA",
        "",
    ),
    (
        "SELECT 2 SCOPE, COLUMN_NAME FROM INFORMATION_SCHEMA.COLUMNS WHERE (COLUMN_KEY = 'PRI' OR (COLUMN_KEY = 'UNI'
           AND NOT EXISTS (SELECT * FROM INFORMATION_SCHEMA.COLUMNS WHERE COLUMN_KEY = 'PRI' AND TABLE_NAME = 'm')))
         AND TABLE_SCHEMA='public' AND TABLE_NAME = 'm' AND IS_NULLABLE = 'NO' ORDER BY ORDINAL_POSITION",
        "2|t",
    ),
    (
        "SELECT GRANTEE, PRIVILEGE_TYPE PRIVILEGE, IS_GRANTABLE FROM INFORMATION_SCHEMA.TABLE_PRIVILEGES
         WHERE TABLE_SCHEMA='public' AND TABLE_NAME='m' ORDER BY TABLE_SCHEMA, TABLE_NAME, PRIVILEGE_TYPE",
        "",
    ),
];

/// The catalog by the queries of the JDBC drivers; after `command_line`, which makes the table.
async fn catalog(door: &Door) {
    let answers = [
        "public|NULL|m|host|-1|TEXT|65535|NULL|1|NO\npublic|NULL|m|t|93|TIMESTAMP|23|NULL|0|NO\n\
         public|NULL|m|v|8|DOUBLE|22|0|1|NO\npublic|NULL|m|ok|-7|TINYINT|3|NULL|1|NO",
        "public|NULL|host|-1|TEXT|65535|NULL|1|65535|NO\npublic|NULL|t|93|TIMESTAMP|23|NULL|0|NULL|NO\n\
         public|NULL|v|8|DOUBLE|22|NULL|1|NULL|NO\npublic|NULL|ok|16|BOOLEAN|3|0|1|NULL|NO",
    ];
    for (text, expected) in COLUMNS.into_iter().zip(answers).chain(CATALOG.iter().copied()) {
        let Some((done, shown)) = mysql(door, "public", text).await else { return };
        let rows = shown.split_once('\n').map_or("", |(_, rows)| rows);
        assert!(done && rows == expected, "{text}: {shown}");
    }
}

const PYMYSQL: &str = r#"
import sys, datetime, pymysql
h, p = sys.argv[1].split(':')
c = pymysql.connect(host=h, port=int(p), user='u', password='x', database='public', autocommit=False)
k = c.cursor(pymysql.cursors.DictCursor)
k.execute("CREATE TABLE py (host STRING PRIMARY KEY, t TIMESTAMP(6) TIME INDEX, v DOUBLE, n BIGINT UNSIGNED, b BINARY)")
rows = [("a'\\b\"", datetime.datetime(2026, 1, 2, 3, 4, 5, 678901), 1.25, 2**64 - 1, None), ('ä', 1, None, 0, None)]
assert k.executemany("INSERT INTO py VALUES (%s, %s, %s, %s, %s)", rows) == 2
c.commit()
k.execute("SELECT * FROM py WHERE host = %s", (rows[0][0],))
row = k.fetchone()
assert tuple(row.values()) == rows[0], row
k.execute("SELECT CONNECTION_ID() AS id, VERSION() AS v")
row = k.fetchone()
assert row['id'] == c.thread_id() and row['v'] == c.get_server_info(), row
try: k.execute("SELECT * FROM nothing")
except pymysql.err.ProgrammingError as e: assert e.args[0] == 1146, e
c.ping(); c.select_db('information_schema'); c.rollback(); c.autocommit(True); assert c.get_autocommit()
k.execute("SELECT table_name FROM tables WHERE table_schema = 'public'")
print([r['table_name'] for r in k.fetchall()])
"#;

const CONNECTOR: &str = r#"
import sys, datetime, mysql.connector
h, p = sys.argv[1].split(':')
c = mysql.connector.connect(host=h, port=int(p), user='u', password='x', database='public', use_pure=True)
k = c.cursor(prepared=True)
k.execute("CREATE TABLE oracle (host STRING PRIMARY KEY, t TIMESTAMP(3) TIME INDEX, v DOUBLE, n BIGINT, ok BOOLEAN)")
at = datetime.datetime(2026, 1, 2, 3, 4, 5, 678000)
k.execute("INSERT INTO oracle VALUES (?, ?, ?, ?, ?)", ('a', at, 1.5, -7, True))
k.execute("INSERT INTO oracle VALUES (?, ?, ?, ?, ?)", ('b', datetime.datetime(2026, 1, 3), None, None, None))
k.execute("SELECT host, t, v, n, ok FROM oracle WHERE host = ?", ('a',))
rows = k.fetchall()
assert rows == [('a', at, 1.5, -7, 1)], rows
k.execute("SELECT v, n, ok, t FROM oracle WHERE n IS NULL AND t > ?", (at,))
assert k.fetchall() == [(None, None, None, datetime.datetime(2026, 1, 3))]
c.cmd_reset_connection(); c.cmd_change_user('v', 'y', 'public')
k = c.cursor()
k.execute("SELECT count(*) FROM oracle WHERE host = %s", ('a',))
print(k.fetchone()[0])
"#;

const SQLALCHEMY: &str = r#"
import sys, warnings, sqlalchemy, pymysql
warnings.simplefilter('error')
engine = sqlalchemy.create_engine(f"mysql+pymysql://u:p@{sys.argv[1]}/public")
with engine.connect() as c:
    c.execute(sqlalchemy.text("CREATE TABLE alchemy (host STRING COMMENT 'who', t TIMESTAMP(3) DEFAULT now() TIME INDEX, "
        "v DOUBLE, n BIGINT UNSIGNED, PRIMARY KEY (host)) WITH ('comment' = 'gold')"))
i = sqlalchemy.inspect(engine)
assert i.has_table('alchemy') and not i.has_table('nothing') and 'public' in i.get_schema_names()
columns = {c['name']: c for c in i.get_columns('alchemy')}
assert [str(c['type']) for c in columns.values()] == ['TEXT', 'TIMESTAMP', 'DOUBLE', 'BIGINT'], columns
assert columns['n']['type'].unsigned and columns['host']['comment'] == 'who' and not columns['t']['nullable'], columns
assert i.get_pk_constraint('alchemy')['constrained_columns'] == ['host']
assert i.get_indexes('alchemy') == [] == i.get_foreign_keys('alchemy')
print(i.get_table_comment('alchemy')['text'])
"#;

#[tokio::test]
async fn python_drivers_work_as_they_are() {
    let varve = Varve::start_with(Adapter::Grpc).await;
    python_drivers(&varve).await;
    varve.stop().await;
}

/// PyMySQL and MySQL's own driver.
pub(crate) async fn python_drivers(door: &Door) {
    let addr = door.mysql.to_string();
    if let Some(answer) = python("pymysql", PYMYSQL, std::slice::from_ref(&addr)).await {
        assert_eq!(answer, "['py']");
    }
    if let Some(answer) = python("sqlalchemy", SQLALCHEMY, std::slice::from_ref(&addr)).await {
        assert_eq!(answer, "gold");
    }
    if let Some(answer) = python("mysql.connector", CONNECTOR, &[addr]).await {
        assert_eq!(answer, "1");
    }
}
