//! A cluster of real processes on a real etcd, with a bucket whose faults the test decides.

#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use varve_rig::cluster::{self, Node, Role, Size};
use varve_rig::s3::{ACCESS_KEY, Fault, Objects, Operation, Rule, SECRET_KEY, Server};

use crate::cases::{Rows, run_all};
use crate::kit::{Door, have};
use crate::watch::{PATIENCE, until};
use crate::{mysql, postgres, tools};

const VARVE: &str = env!("CARGO_BIN_EXE_varve");

/// A running cluster; stopped on drop.
pub(crate) struct Running {
    dir: TempDir,
    pub(crate) s3: Server,
}

impl Running {
    /// Starts one, unless etcd is absent.
    pub(crate) async fn start(size: Size) -> Option<Self> {
        if !have("etcd", Command::new("etcd").arg("--version").stdout(Stdio::null()).status().is_ok()) {
            return None;
        }
        let any = "127.0.0.1:0".parse().expect("an address");
        let s3 = Server::start(any, Objects::in_memory()).await.expect("a free port");
        let running = Self { dir: tempfile::tempdir().expect("a folder"), s3 };
        let (dir, addr) = (running.dir.path().to_owned(), running.s3.addr);
        blocking(move || cluster::up(&dir, Path::new(VARVE), size, Some(addr))).await.expect("the cluster starts");
        Some(running)
    }

    pub(crate) fn nodes(&self, role: Role) -> Vec<Node> {
        let cluster = cluster::read(self.dir.path()).expect("it was written");
        cluster.nodes.into_iter().filter(|node| node.role == role).collect()
    }

    pub(crate) fn door(&self, frontend: usize) -> Door {
        let node = &self.nodes(Role::Frontend)[frontend];
        Door::new(node.http, node.mysql.expect("it is served"), node.postgres.expect("it is served"))
    }

    async fn restart(&self, node: &Node) {
        let (dir, name) = (self.dir.path().to_owned(), node.name.clone());
        blocking(move || cluster::start(&dir, Path::new(VARVE), &name)).await.expect("it starts again");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = cluster::down(self.dir.path());
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

pub(crate) fn size(datanodes: u32, frontends: u32, metasrvs: u32) -> Size {
    Size { datanodes, frontends, metasrvs }
}

/// Asks until the rows are there; what a client would do after an error that may be retried.
pub(crate) async fn eventually(door: &Door, statement: &str, expected: &str) {
    let mut last = String::new();
    for _ in 0..600 {
        let (status, reply) = door.sql(statement).await;
        last = reply["output"][0]["records"]["rows"].to_string();
        if status == 200 && last == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{statement}: {last}, expected {expected}");
}

/// Like `eventually`, but no answer on the way may be another one: an error is fine, a part of the rows is not.
pub(crate) async fn never_partial(door: &Door, statement: &str, expected: &str) {
    for _ in 0..600 {
        let (status, reply) = door.sql(statement).await;
        if status == 200 {
            assert_eq!(reply["output"][0]["records"]["rows"].to_string(), expected, "{statement}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{statement}: no answer in a minute");
}

fn lines(from: usize, to: usize) -> String {
    (from..to).map(|row| format!("m,host=h{} v={row} {}\n", row % 23, row + 1)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn cases_pass_on_a_cluster() {
    let Some(running) = Running::start(size(2, 1, 1)).await else { return };
    run_all(&running.door(0), "memory", 3, Rows::InMemory).await;
    run_all(&running.door(0), "files", 3, Rows::InFiles).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_get_the_answers_that_standalone_gives() {
    let Some(running) = Running::start(size(2, 1, 1)).await else { return };
    let door = running.door(0);
    mysql::python_drivers(&door).await;
    door.clear().await;
    mysql::command_line(&door).await;
    door.clear().await;
    postgres::driver(&door).await;
    postgres::command_line(&door).await;
    door.clear().await;
    tools::influx_packages(&door).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_rows_survive_faults_of_the_bucket_and_the_death_of_every_role() {
    let Some(running) = Running::start(size(2, 2, 1)).await else { return };
    let (one, other) = (running.door(0), running.door(1));
    one.run("CREATE TABLE m (host STRING PRIMARY KEY, t TIMESTAMP(9) TIME INDEX, v DOUBLE) WITH (regions = '4', append_mode = 'true')").await;
    let mut acked = 0;
    let second = Duration::from_secs(1);
    let faults = [
        Fault::SlowDown,
        Fault::ErrorBefore,
        Fault::ErrorAfter,
        Fault::Conflict,
        Fault::Forbidden,
        Fault::LostReply(second),
        Fault::LateEffect(second),
        Fault::Stall(second),
    ];
    for fault in faults {
        running.s3.rules().add(Rule { percent: 50, times: 6, ..Rule::always(Operation::Put, fault.clone()) });
        for _ in 0..3 {
            let (status, text) = one.write("/write?db=public", lines(acked, acked + 100)).await;
            assert_eq!(status, 204, "{fault:?}: {text}");
            acked += 100;
        }
        running.s3.rules().clear();
    }
    let sum = acked * (acked - 1) / 2;
    let everything = format!("[[{acked},{sum}.0]]");
    eventually(&other, "SELECT count(*), sum(v) FROM m", &everything).await;
    one.run("ADMIN flush_table('m')").await;
    let nodes = [Role::Metasrv, Role::Datanode, Role::Frontend].map(|role| running.nodes(role)).concat();
    nodes.iter().for_each(cluster::kill);
    for node in &nodes {
        running.restart(node).await;
    }
    eventually(&running.door(0), "SELECT count(*), sum(v) FROM m", &everything).await;
    eventually(&running.door(1), "SELECT count(*), sum(v) FROM m", &everything).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_datanodes_regions_are_served_by_others_and_shown_where_they_are() {
    let Some(running) = Running::start(size(2, 1, 1)).await else { return };
    let door = running.door(0);
    door.run("CREATE TABLE m (host STRING PRIMARY KEY, t TIMESTAMP(9) TIME INDEX, v DOUBLE) WITH (regions = '4')")
        .await;
    assert_eq!(door.write("/write?db=public", lines(0, 500)).await.0, 204);
    let peers = "SELECT peer_id, count(*) FROM information_schema.region_peers GROUP BY peer_id ORDER BY peer_id";
    eventually(&door, peers, "[[0,2],[1,2]]").await;
    let dead = running.nodes(Role::Datanode).remove(0);
    cluster::kill(&dead);
    never_partial(&door, "SELECT count(*) FROM m", "[[500]]").await;
    eventually(&door, peers, "[[1,4]]").await;
    eventually(&door, "SELECT count(*) FROM m", "[[500]]").await;
    running.restart(&dead).await;
    assert_eq!(door.write("/write?db=public", lines(500, 600)).await.0, 204);
    eventually(&door, "SELECT count(*) FROM m", "[[600]]").await;
}

/// The command line of one more datanode. `more`: further settings of `[datanode]`.
fn datanode(node_id: u64, s3: SocketAddr, metasrv: &str, folder: &Path, more: &str) -> Command {
    let file = folder.join("varve.toml");
    let text = format!(
        "[datanode]\nnode_id = {node_id}\nhttp_addr = \"127.0.0.1:0\"\ngrpc_addr = \"127.0.0.1:0\"\nmetasrv_addrs = [\"{metasrv}\"]\n{more}\n\
         [datanode.s3]\nendpoint = \"http://{s3}\"\nbucket = \"varve\"\nregion = \"us-east-1\"\n"
    );
    std::fs::write(&file, text).expect("written");
    let mut command = Command::new(VARVE);
    command.args(["datanode", "--config"]).arg(&file);
    command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    command
}

/// A process whose words are listened to; killed on drop.
struct Speaker(Child);

impl Speaker {
    fn start(mut command: Command) -> Self {
        Self(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs"))
    }

    /// Whether it says this before it ends.
    fn says(&mut self, text: &'static str) -> impl Future<Output = bool> + use<> {
        self.says_in_turn(vec![text])
    }

    /// Whether it says all of these, one after another, before it ends.
    fn says_in_turn(&mut self, texts: Vec<&'static str>) -> impl Future<Output = bool> + use<> {
        let said = std::io::BufReader::new(self.0.stderr.take().expect("piped"));
        blocking(move || {
            let mut lines = std::io::BufRead::lines(said).map_while(Result::ok);
            texts.iter().all(|text| lines.any(|line| line.contains(text)))
        })
    }

    /// Sends SIGTERM; what the process answers to whoever waits for it.
    async fn stopped(mut self) -> Option<i32> {
        let kill = Command::new("sh").arg("-c").arg(format!("kill -TERM {}", self.0.id())).status();
        assert!(kill.expect("a shell").success());
        for _ in 0..600 {
            if let Some(status) = self.0.try_wait().expect("a child") {
                return status.code();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("it does not end in a minute");
    }

    /// Whether it takes SIGTERM itself instead of being ended by it.
    async fn takes_signals(&self) -> bool {
        for _ in 0..600 {
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap_or_default();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or_default().trim();
            if u64::from_str_radix(caught, 16).is_ok_and(|caught| caught & 1 << 14 != 0) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        false
    }

    fn is_alive(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a datanode until it ends by itself; what it said.
async fn refused(s3: SocketAddr, metasrv: &str, folder: &Path) -> String {
    let mut command = datanode(7, s3, metasrv, folder, "");
    let output = blocking(move || command.output());
    let output = tokio::time::timeout(Duration::from_mins(1), output).await.expect("it ends").expect("it runs");
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_ignores_conditions_is_refused_with_the_reason() {
    let any = "127.0.0.1:0".parse().expect("an address");
    let s3 = Server::start(any, Objects::in_memory()).await.expect("a free port");
    s3.rules().add(Rule::always(Operation::Put, Fault::IgnoreConditions));
    let folder = tempfile::tempdir().expect("a folder");
    let said = refused(s3.addr, "127.0.0.1:1", folder.path()).await;
    assert!(said.contains("the object store cannot be used"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_refuses_the_credentials_is_asked_again_and_what_they_lack_is_named() {
    let any = "127.0.0.1:0".parse().expect("an address");
    let s3 = Server::start(any, Objects::in_memory()).await.expect("a free port");
    s3.rules().add(Rule { times: 3, ..Rule::always(Operation::Put, Fault::Forbidden) });
    let folder = tempfile::tempdir().expect("a folder");
    let mut node = Speaker::start(datanode(7, s3.addr, "127.0.0.1:1", folder.path(), ""));
    let says = node.says_in_turn(vec!["the bucket refuses s3:PutObject", "grant them", "a session cannot begin"]);
    assert!(
        tokio::time::timeout(Duration::from_mins(1), says)
            .await
            .expect("it names what is missing, and goes on once it has that")
    );
    assert_eq!(node.stopped().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_a_datanode_that_waits_for_its_bucket() {
    let folder = tempfile::tempdir().expect("a folder");
    let nobody = "127.0.0.1:1".parse().expect("an address");
    let mut node = Speaker::start(datanode(7, nobody, "127.0.0.1:1", folder.path(), ""));
    let waits = node.says("the bucket does not answer, asking again");
    assert!(tokio::time::timeout(Duration::from_mins(1), waits).await.expect("it says that it waits"));
    assert_eq!(node.stopped().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_a_standalone_whose_disk_hangs_while_it_reads_the_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("wal");
    std::fs::create_dir(&log).expect("created");
    // A pipe that nobody writes to: whoever opens it to read waits in the kernel.
    let made = Command::new("mkfifo").arg(log.join("volume")).status().expect("mkfifo runs");
    assert!(made.success());
    let mut command = Command::new(VARVE);
    command.arg("standalone").arg("--data-dir").arg(folder.path());
    for wire in ["--http-addr", "--grpc-addr", "--mysql-addr", "--postgres-addr"] {
        command.args([wire, "127.0.0.1:0"]);
    }
    let node = Speaker::start(command);
    assert!(node.takes_signals().await);
    assert_eq!(node.stopped().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_call_themselves_what_cluster_json_calls_them() {
    let Some(running) = Running::start(size(1, 1, 1)).await else { return };
    for node in [Role::Metasrv, Role::Datanode, Role::Frontend].into_iter().flat_map(|role| running.nodes(role)) {
        let reply = reqwest::get(format!("http://{}/status", node.http)).await.expect("a reply");
        let status = reply.json::<serde_json::Value>().await.expect("JSON");
        assert_eq!((status["name"].as_str(), status["role"].as_str()), (Some(&*node.name), Some(node.role.name())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datanode_on_another_clusters_bucket_is_refused() {
    let Some(first) = Running::start(size(1, 1, 1)).await else { return };
    let Some(second) = Running::start(size(1, 1, 1)).await else { return };
    let metasrv = second.nodes(Role::Metasrv)[0].grpc.expect("it serves").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let said = refused(first.s3.addr, &metasrv, folder.path()).await;
    assert!(said.contains("cluster"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_with_the_same_node_id_waits_and_the_first_goes_on() {
    let Some(running) = Running::start(size(1, 1, 1)).await else { return };
    let door = running.door(0);
    assert_eq!(door.write("/write?db=public", lines(0, 100)).await.0, 204);
    let metasrv = running.nodes(Role::Metasrv)[0].grpc.expect("it serves").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let mut second = Speaker::start(datanode(0, running.s3.addr, &metasrv, folder.path(), ""));
    let waits = second.says("is another process running with this node id");
    assert!(tokio::time::timeout(Duration::from_mins(1), waits).await.expect("it says why it waits"));
    drop(second);
    assert_eq!(door.write("/write?db=public", lines(100, 200)).await.0, 204);
    never_partial(&door, "SELECT count(*) FROM m", "[[200]]").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_datanodes_with_one_data_directory_one_waits_for_the_other() {
    let Some(running) = Running::start(size(1, 1, 1)).await else { return };
    let metasrv = running.nodes(Role::Metasrv)[0].grpc.expect("it serves").to_string();
    let data = tempfile::tempdir().expect("a folder");
    let more = format!("log = \"local\"\ndata_dir = \"{}\"", data.path().display());
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let start = |number: usize| {
        let command = datanode(8 + number as u64, running.s3.addr, &metasrv, folders[number].path(), &more);
        Speaker::start(command)
    };
    let (mut one, mut other) = (start(0), start(1));
    let text = "is in use by another process";
    let (mut first, mut second) = (std::pin::pin!(one.says(text)), std::pin::pin!(other.says(text)));
    let waits = async {
        tokio::select! { said = &mut first => said, said = &mut second => said }
    };
    assert!(tokio::time::timeout(Duration::from_mins(1), waits).await.expect("one says why it waits"));
    assert!(one.is_alive() && other.is_alive());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_etcd_rows_are_written_and_read_and_the_catalog_stands_still() {
    let Some(running) = Running::start(size(1, 1, 1)).await else { return };
    let door = running.door(0);
    assert_eq!(door.write("/write?db=public", lines(0, 100)).await.0, 204);
    let etcd = running.nodes(Role::Etcd).remove(0);
    cluster::kill(&etcd);
    assert_eq!(door.write("/write?db=public", lines(100, 200)).await.0, 204);
    never_partial(&door, "SELECT count(*) FROM m", "[[200]]").await;
    let (status, reply) = door.sql("CREATE TABLE other (t TIMESTAMP TIME INDEX)").await;
    assert!(status >= 500, "{status} {reply}");
    running.restart(&etcd).await;
    eventually(&door, "SELECT count(*) FROM m", "[[200]]").await;
    let mut created = 0;
    while created != 200 {
        created = door.sql("CREATE TABLE IF NOT EXISTS other (t TIMESTAMP TIME INDEX)").await.0;
    }
    eventually(&door, "SELECT count(*) FROM other", "[[0]]").await;
}

/// The lease of a datanode lasts for seconds, a member of etcd may be away for a minute.
#[tokio::test(flavor = "multi_thread")]
async fn a_minute_without_quorum_ends_writes_and_loses_nothing() {
    let Some(running) = Running::start(size(2, 1, 3)).await else { return };
    let door = running.door(0);
    door.run("CREATE TABLE m (host STRING PRIMARY KEY, t TIMESTAMP(9) TIME INDEX, v DOUBLE) WITH (regions = '4', append_mode = 'true')").await;
    let etcd = running.nodes(Role::Etcd).remove(0);
    let start = Instant::now();
    cluster::pause(&etcd);
    // Each batch is sent once, so that a row which is there twice was stored twice.
    let (mut acked, mut refused, mut sent) = (Vec::new(), 0, 0);
    while start.elapsed() < Duration::from_mins(1) {
        let request = door.http.post(door.url("/write?db=public")).header("x-varve-timeout", "5s");
        let reply = request.body(lines(sent, sent + 10)).send().await.expect("a reply");
        match reply.status().as_u16() {
            204 => acked.extend(sent..sent + 10),
            503 | 504 => refused += 10,
            status => panic!("{status}: {:?}", reply.text().await),
        }
        sent += 10;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(!acked.is_empty(), "the lease still held after the start");
    assert!(refused > 0, "nobody may write when the lease is long over");
    cluster::resume(&etcd);
    until("a row is written", PATIENCE, async || {
        let (status, text) = door.write("/write?db=public", lines(sent, sent + 1)).await;
        sent += 1;
        if status == 204 { Ok(()) } else { Err(text) }
    })
    .await;
    let mut rows = Vec::new();
    until("the table is read", PATIENCE, async || {
        let (status, reply) = door.sql("SELECT v FROM m ORDER BY v").await;
        let found = reply["output"][0]["records"]["rows"].as_array().cloned().unwrap_or_default();
        rows = found.iter().map(|row| row[0].as_f64().expect("a number") as usize).collect();
        if status == 200 { Ok(()) } else { Err(reply.to_string()) }
    })
    .await;
    assert!(rows.windows(2).all(|pair| pair[0] < pair[1]), "a row is there twice");
    assert!(acked.iter().all(|row| rows.binary_search(row).is_ok()), "an acknowledged row is lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_costs_few_requests_and_a_cluster_at_rest_none() {
    let Some(running) = Running::start(size(2, 1, 1)).await else { return };
    let door = running.door(0);
    assert_eq!(door.write("/write?db=public", lines(0, 100)).await.0, 204);
    at_rest(&running).await;
    let of = |operation| running.s3.counts().get(&operation).copied().unwrap_or_default();
    let (puts, lists) = (of(Operation::Put), of(Operation::List));
    door.run("ADMIN flush_table('m')").await;
    // Data, sidecar, index and the manifest's next version.
    assert!(of(Operation::Put) - puts <= 4, "{} PUTs for one flush of one region", of(Operation::Put) - puts);
    assert!(of(Operation::List) - lists <= 1, "{} LISTs for one flush of one region", of(Operation::List) - lists);
    at_rest(&running).await;
}

/// Waits for five seconds without a request to the bucket.
async fn at_rest(running: &Running) {
    until("the bucket is left alone", PATIENCE, async || {
        let before = running.s3.counts();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let after = running.s3.counts();
        if before == after { Ok(()) } else { Err(format!("{before:?}, five seconds later {after:?}")) }
    })
    .await;
}
