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
    if let Some(answer) = python("mysql.connector", CONNECTOR, &[addr]).await {
        assert_eq!(answer, "1");
    }
}
