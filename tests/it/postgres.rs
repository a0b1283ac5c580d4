//! The PostgreSQL wire with tokio-postgres and, where it is there, psql.

use tokio_postgres::NoTls;

use crate::kit::{Door, Varve, have};

async fn connect(door: &Door) -> tokio_postgres::Client {
    let addr = door.postgres;
    let setting = format!("host={} port={} user=u dbname=public", addr.ip(), addr.port());
    let (client, connection) = tokio_postgres::connect(&setting, NoTls).await.expect("connects");
    #[allow(clippy::disallowed_methods, reason = "a test's own background task")]
    tokio::spawn(connection);
    client
}

#[tokio::test]
async fn simple_and_extended_protocol_read_what_was_written() {
    let varve = Varve::start().await;
    driver(&varve).await;
    varve.stop().await;
}

/// Defines, writes and reads with tokio-postgres.
pub(crate) async fn driver(door: &Door) {
    let client = connect(door).await;
    client
        .batch_execute("CREATE TABLE p (host STRING PRIMARY KEY, t TIMESTAMP(3) TIME INDEX, v DOUBLE, n BIGINT)")
        .await
        .expect("created");
    let rows =
        client.execute("INSERT INTO p VALUES ('a', 1000, 1.5, 7), ('b', 2000, NULL, NULL)", &[]).await.expect("ok");
    assert_eq!(rows, 2);
    let rows = client.query("SELECT host, v, n FROM p WHERE host = $1", &[&"a"]).await.expect("rows");
    assert_eq!((rows[0].get::<_, &str>(0), rows[0].get::<_, f64>(1), rows[0].get::<_, i64>(2)), ("a", 1.5, 7));
    let rows = client.query("SELECT v FROM p WHERE host = 'b'", &[]).await.expect("rows");
    assert_eq!(rows[0].get::<_, Option<f64>>(0), None);
    let error = client.query("SELECT * FROM nothing", &[]).await.expect_err("no such table");
    assert_eq!(error.code().map(|code| code.code()), Some("42P01"));
    let error = client.query("SELEC 1", &[]).await.expect_err("syntax");
    assert_eq!(error.code().map(|code| code.code()), Some("42601"));
}

#[tokio::test]
async fn psql_lists_and_describes_tables() {
    let varve = Varve::start().await;
    command_line(&varve).await;
    varve.stop().await;
}

/// Lists and describes with psql.
pub(crate) async fn command_line(door: &Door) {
    let present = std::process::Command::new("psql").arg("--version").output().is_ok();
    if !have("psql", present) {
        return;
    }
    door.run("CREATE TABLE listed (host STRING PRIMARY KEY, t TIMESTAMP(3) TIME INDEX, v DOUBLE)").await;
    let addr = door.postgres;
    for (command, expected) in [("\\dt", "listed"), ("\\d listed", "double precision"), ("\\l", "public")] {
        let output = tokio::process::Command::new("psql")
            .args(["-h", &addr.ip().to_string(), "-p", &addr.port().to_string(), "-U", "u", "-d", "public"])
            .args(["-v", "ON_ERROR_STOP=1", "-c", command])
            .output()
            .await
            .expect("psql runs");
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && text.contains(expected), "{command}: {text}");
    }
}
