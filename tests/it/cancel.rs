//! Nothing outlives its client: KILL across frontends, and clients that vanish in mid-query.

#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use varve_rig::cluster::Role;
use varve_rig::s3::{Fault, Operation, Rule};

use crate::cluster::{Running, size};
use crate::kit::{Door, have};
use crate::watch::{PATIENCE, PROMPT, metric, until, until_at_rest};

/// Work for minutes on the frontend, over rows that are there at once.
const BUSY: &str = "SELECT count(*) FROM m a, m b, m c, m d WHERE a.v + b.v * c.v = d.v - 0.5";
/// A datanode reads it from the bucket.
const STALLED: &str = "SELECT sum(v), max(host) FROM m";
/// Makes another number of a process: connections are numbered one after the other, and nobody has opened so many.
const NOBODY: u64 = 1 << 20;
/// How clients name their statement apart from the one that looks for it.
const MARK: &str = "/* mine */";

/// A cluster with a table of two regions.
async fn start(frontends: u32) -> Option<(Running, Door)> {
    let running = Running::start(size(2, frontends, 1)).await?;
    let door = running.door(0);
    door.run("CREATE TABLE m (host STRING PRIMARY KEY, t TIMESTAMP(9) TIME INDEX, v DOUBLE) WITH (regions = '2')")
        .await;
    let lines = (0..2000).map(|row| format!("m,host=h{} v={row} {}\n", row % 23, row + 1)).collect::<String>();
    assert_eq!(door.write("/write?db=public", lines).await.0, 204);
    Some((running, door))
}

/// How many of this kind run on the nodes of a role.
async fn running(cluster: &Running, role: Role, work: &str) -> u64 {
    metric(&cluster.nodes(role), &format!("varve_running{{work=\"{work}\"}}")).await
}

/// Waits until the statement and what datanodes read for it run.
async fn until_runs(cluster: &Running, scans: u64) {
    until("the statement runs", PATIENCE, async || {
        let statements = running(cluster, Role::Frontend, "statement").await;
        let scanning = running(cluster, Role::Datanode, "scan").await;
        if statements >= 1 && scanning >= scans { Ok(()) } else { Err(format!("{statements} and {scanning}")) }
    })
    .await;
}

/// Soon nothing runs on any node, and no process works.
async fn assert_nothing_runs(cluster: &Running, client: &str) {
    until(&format!("{client}: nothing runs"), PROMPT, async || {
        let statements = running(cluster, Role::Frontend, "statement").await;
        let scans = running(cluster, Role::Datanode, "scan").await;
        if statements + scans == 0 { Ok(()) } else { Err(format!("{statements} statements, {scans} scans")) }
    })
    .await;
    let nodes = [Role::Frontend, Role::Datanode].map(|role| cluster.nodes(role)).concat();
    until_at_rest(&nodes).await;
}

/// A PostgreSQL connection as bytes: it knows its own cancel key.
struct Postgres {
    stream: TcpStream,
    process: u32,
    secret: [u8; 4],
}

impl Postgres {
    async fn connect(addr: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(addr).await.expect("connected");
        let body = b"\0\x03\0\0user\0u\0database\0public\0\0";
        stream.write_u32(body.len() as u32 + 4).await.expect("sent");
        stream.write_all(body).await.expect("sent");
        let mut connection = Self { stream, process: 0, secret: [0; 4] };
        loop {
            match connection.message().await {
                (b'K', body) => {
                    connection.process = u32::from_be_bytes(body[..4].try_into().expect("four bytes"));
                    connection.secret = body[4..8].try_into().expect("four bytes");
                }
                (b'Z', _) => return connection,
                (b'E', body) => panic!("{}", String::from_utf8_lossy(&body)),
                _ => {}
            }
        }
    }

    async fn message(&mut self) -> (u8, Vec<u8>) {
        let kind = self.stream.read_u8().await.expect("a message");
        let mut body = vec![0; self.stream.read_u32().await.expect("a length") as usize - 4];
        self.stream.read_exact(&mut body).await.expect("a body");
        (kind, body)
    }

    async fn send(&mut self, sql: &str) {
        self.stream.write_u8(b'Q').await.expect("sent");
        self.stream.write_u32(sql.len() as u32 + 5).await.expect("sent");
        self.stream.write_all(sql.as_bytes()).await.expect("sent");
        self.stream.write_u8(0).await.expect("sent");
    }

    /// The statement ends soon after it was asked to, and because of that: a time-out has the same state.
    async fn assert_cancelled(&mut self, asked: Instant) {
        let body = loop {
            if let (b'E', body) = self.message().await {
                break body;
            }
        };
        let took = asked.elapsed();
        let fields = body.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect::<Vec<_>>();
        let field = |name: char| fields.iter().find_map(|field| field.strip_prefix(name)).expect("a field");
        assert_eq!((field('C'), field('M')), ("57014", "canceling statement due to user request"));
        assert!(took < PROMPT, "{took:?}");
    }

    /// Sends a cancel request to some frontend.
    async fn cancel(&self, addr: SocketAddr, secret: [u8; 4]) {
        let mut stream = TcpStream::connect(addr).await.expect("connected");
        stream.write_all(&[0, 0, 0, 16, 4, 210, 22, 46]).await.expect("sent");
        stream.write_u32(self.process).await.expect("sent");
        stream.write_all(&secret).await.expect("sent");
        // The server closes when it has done what it could.
        assert_eq!(stream.read(&mut [0]).await.expect("no answer"), 0);
    }
}

/// Runs a statement with the mysql client; what it printed. `None` when it is absent.
async fn mysql(door: &Door, sql: &str) -> Option<String> {
    let output = mysql_command(door, sql).output().await;
    if !have("mysql", output.is_ok()) {
        return None;
    }
    let output = output.expect("it ran");
    Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

fn mysql_command(door: &Door, sql: &str) -> tokio::process::Command {
    let mut client = tokio::process::Command::new("mysql");
    let (host, port) = (door.mysql.ip().to_string(), door.mysql.port().to_string());
    client.args(["--no-defaults", "--batch", "--comments", "-h", &host, "-P", &port, "-u", "me", "-e", sql, "public"]);
    client.kill_on_drop(true);
    client
}

/// The number of the statement that carries the mark, as a frontend lists it.
async fn find(door: &Door) -> u64 {
    let sql = "SELECT id FROM information_schema.process_list WHERE query LIKE '%/* mine%' AND query NOT LIKE '%LIKE%'";
    let mut found = 0;
    until("the statement is listed", PATIENCE, async || {
        found = door.rows(sql).await.first().and_then(|row| row[0].as_u64()).unwrap_or(0);
        if found > 0 { Ok(()) } else { Err("it is not".to_owned()) }
    })
    .await;
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn any_frontend_kills_what_runs_on_another() {
    let Some((cluster, one)) = start(2).await else { return };
    let other = cluster.door(1);
    let busy = format!("{MARK} {BUSY}");
    // A cancel request that reaches another frontend; with a wrong key it changes nothing.
    let mut client = Postgres::connect(one.postgres).await;
    client.send(&busy).await;
    let found = find(&other).await;
    assert_eq!(found, u64::from(client.process));
    client.cancel(other.postgres, [1, 2, 3, 4].map(|byte: u8| byte ^ client.secret[0])).await;
    assert_eq!(running(&cluster, Role::Frontend, "statement").await, 1);
    let asked = Instant::now();
    client.cancel(other.postgres, client.secret).await;
    client.assert_cancelled(asked).await;
    assert_nothing_runs(&cluster, "cancel request").await;
    // KILL by number, over HTTP, of a statement that came by PostgreSQL.
    client.send(&busy).await;
    let found = find(&other).await;
    let asked = Instant::now();
    other.run(&format!("KILL QUERY {found}")).await;
    client.assert_cancelled(asked).await;
    let (status, reply) = other.sql(&format!("KILL QUERY {}", found ^ NOBODY)).await;
    assert_eq!((status, reply["code"].as_u64()), (404, Some(1004)), "{reply}");
    // And by the mysql client, of a statement that came by HTTP.
    let victim = one.clone();
    let statement = busy.clone();
    let killed = tokio::spawn(async move { victim.sql(&statement).await });
    let found = find(&other).await;
    let asked = Instant::now();
    let Some(shown) = mysql(&other, &format!("SHOW PROCESSLIST; KILL {found}")).await else { return };
    assert!(shown.contains(&format!("{found}\t")), "{shown}");
    let (status, reply) = killed.await.expect("no panic");
    assert!(asked.elapsed() < PROMPT, "{:?}", asked.elapsed());
    assert_eq!((status, reply["code"].as_u64()), (499, Some(1005)), "{reply}");
    let shown = mysql(&other, &format!("KILL {}", found ^ NOBODY)).await.expect("it is there");
    assert!(shown.contains("ERROR 1094 (HY000)"), "{shown}");
    assert_nothing_runs(&cluster, "KILL").await;
}

/// A client whose statement runs; dropping it closes the connection.
enum Client {
    Http(tokio::task::JoinHandle<()>),
    Postgres(Postgres),
    Mysql(tokio::process::Child),
}

impl Client {
    /// One by each wire, as far as clients are installed.
    async fn all(door: &Door, sql: &str, number: usize) -> Option<(&'static str, Self)> {
        Some(match number {
            0 => {
                let (door, sql) = (door.clone(), sql.to_owned());
                ("HTTP", Self::Http(tokio::spawn(async move { drop(door.sql(&sql).await) })))
            }
            1 => {
                let mut client = Postgres::connect(door.postgres).await;
                client.send(sql).await;
                ("PostgreSQL", Self::Postgres(client))
            }
            _ => {
                let child = mysql_command(door, sql).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
                if !have("mysql", child.is_ok()) {
                    return None;
                }
                ("MySQL", Self::Mysql(child.expect("it runs")))
            }
        })
    }

    fn vanish(self) {
        match self {
            Self::Http(task) => task.abort(),
            Self::Postgres(client) => drop(client),
            Self::Mysql(mut child) => child.start_kill().expect("it runs"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_client_vanished_nothing_runs_on_any_node() {
    let Some((cluster, door)) = start(1).await else { return };
    for number in 0..3 {
        let Some((name, client)) = Client::all(&door, BUSY, number).await else { continue };
        until_runs(&cluster, 0).await;
        client.vanish();
        assert_nothing_runs(&cluster, name).await;
    }
    door.run("ADMIN flush_table('m')").await;
    cluster.s3.rules().add(Rule::always(Operation::Get, Fault::Stall(Duration::from_mins(1))));
    for number in 0..3 {
        let Some((name, client)) = Client::all(&door, STALLED, number).await else { continue };
        until_runs(&cluster, 2).await;
        client.vanish();
        assert_nothing_runs(&cluster, name).await;
    }
    cluster.s3.rules().clear();
    assert_eq!(door.rows("SELECT count(*) FROM m").await[0][0], 2000);
}
