//! A cluster of real processes on one machine: etcd, S3, metasrv, datanodes, frontends.
//!
//! Everything that a node is started with is derived from its entry in
//! `cluster.json`, so that a killed node comes back with the same name, data
//! and addresses, by whoever restarts it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::http::Client;
use crate::{etcd, ports, s3};

mod config;
mod regions;

pub use regions::wait_served;

/// How long a node may take until it serves.
const READY_MAX: Duration = Duration::from_mins(1);
/// How long a node may take to stop by itself.
const STOP_MAX: Duration = Duration::from_secs(30);

/// How many of each role.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Datanodes.
    pub datanodes: u32,
    /// Frontends.
    pub frontends: u32,
    /// Members of metasrv.
    pub metasrvs: u32,
}

/// `cluster.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Cluster {
    /// All nodes, in the order of their start.
    pub nodes: Vec<Node>,
}

/// A process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Node {
    /// `datanode-0`.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Its process.
    pub pid: i32,
    /// HTTP: clients' on a frontend, status elsewhere, the API of etcd and S3.
    pub http: SocketAddr,
    /// gRPC between roles; etcd's peer port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<SocketAddr>,
    /// MySQL wire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mysql: Option<SocketAddr>,
    /// PostgreSQL wire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgres: Option<SocketAddr>,
    /// What it prints.
    pub log: PathBuf,
}

/// A kind of process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Metadata.
    Etcd,
    /// The bucket.
    S3,
    /// Catalog, routes, leases.
    Metasrv,
    /// Storage.
    Datanode,
    /// Clients' side.
    Frontend,
}

impl Role {
    /// The name in command lines and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::S3 => "s3",
            Self::Metasrv => "metasrv",
            Self::Datanode => "datanode",
            Self::Frontend => "frontend",
        }
    }
}

/// Starts a cluster in a folder, on an S3 server that runs already or one of its own, and waits until every node
/// serves. Errors: one runs there already; a node does not start (its log's end is in the text).
pub fn up(dir: &Path, varve: &Path, size: Size, s3: Option<SocketAddr>) -> Result<(), String> {
    if let Ok(running) = read(dir)
        && let Some(node) = running.nodes.iter().find(|node| is_alive(node))
    {
        return Err(format!(
            "{} of {} runs already (pid {}): make cluster-down first",
            node.name,
            dir.display(),
            node.pid
        ));
    }
    fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let dir = &fs::canonicalize(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mut cluster = plan(dir, size, s3)?;
    let all = cluster.nodes.clone();
    let result =
        [Role::Etcd, Role::S3, Role::Metasrv, Role::Datanode, Role::Frontend].into_iter().try_for_each(|role| {
            let mut children = Vec::new();
            let is_ours = |node: &&mut Node| node.role == role && (role != Role::S3 || s3.is_none());
            for node in cluster.nodes.iter_mut().filter(is_ours) {
                say(&format!("starting {}", node.name));
                let child = spawn(dir, varve, node, &all)?;
                node.pid = child.id() as i32;
                children.push((node.clone(), child));
            }
            write(dir, &cluster)?;
            children.into_iter().try_for_each(|(node, child)| wait_ready(&node, child))
        });
    if let Err(error) = result {
        let _ = down(dir);
        return Err(error);
    }
    // A cluster that was down comes back with its regions.
    wait_served(dir)?;
    welcome(dir, &cluster);
    Ok(())
}

/// Starts one node again, and returns when it serves; its regions may still be on their way
/// ([`wait_served`]). Errors: it is unknown, or runs, or does not start.
pub fn start(dir: &Path, varve: &Path, name: &str) -> Result<(), String> {
    let dir = &fs::canonicalize(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mut cluster = read(dir)?;
    let all = cluster.nodes.clone();
    let names = || all.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", ");
    let node = cluster.nodes.iter_mut().find(|node| node.name == name);
    let node = node.ok_or_else(|| format!("no node '{name}'; there are {}", names()))?;
    if is_alive(node) {
        return Err(format!("{name} runs already (pid {})", node.pid));
    }
    let child = spawn(dir, varve, node, &all)?;
    node.pid = child.id() as i32;
    let node = node.clone();
    write(dir, &cluster)?;
    wait_ready(&node, child)?;
    say(&format!("{name} serves on http://{}", node.http));
    Ok(())
}

/// Stops all nodes, clients' side first. Errors: there is no cluster.
#[allow(clippy::disallowed_methods, reason = "real processes live in real time")]
pub fn down(dir: &Path) -> Result<(), String> {
    let cluster = read(dir)?;
    for role in [Role::Frontend, Role::Datanode, Role::Metasrv, Role::S3, Role::Etcd] {
        let nodes = cluster.nodes.iter().filter(|node| node.role == role && is_alive(node)).collect::<Vec<_>>();
        for node in &nodes {
            signal(node, rustix::process::Signal::TERM);
        }
        let start = Instant::now();
        for node in nodes {
            while is_alive(node) && start.elapsed() < STOP_MAX {
                std::thread::park_timeout(Duration::from_millis(20));
            }
            if is_alive(node) {
                say(&format!("{} did not stop in {STOP_MAX:?}: killing it", node.name));
                // A paused process takes the kill, too.
                signal(node, rustix::process::Signal::KILL);
            }
        }
    }
    say("stopped");
    Ok(())
}

/// `kill -9`; returns when the process is gone.
#[allow(clippy::disallowed_methods, reason = "real processes live in real time")]
pub fn kill(node: &Node) {
    signal(node, rustix::process::Signal::KILL);
    while is_alive(node) {
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Stops a process where it is: it neither runs nor ends.
pub fn pause(node: &Node) {
    signal(node, rustix::process::Signal::STOP);
}

/// Lets a paused process go on.
pub fn resume(node: &Node) {
    signal(node, rustix::process::Signal::CONT);
}

/// The cluster of a folder. Errors: there is none.
pub fn read(dir: &Path) -> Result<Cluster, String> {
    let path = dir.join("cluster.json");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Replaces `cluster.json` at once, so that a reader never sees half of it.
fn write(dir: &Path, cluster: &Cluster) -> Result<(), String> {
    let (path, staged) = (dir.join("cluster.json"), dir.join("cluster.json.new"));
    let text = serde_json::to_string_pretty(cluster).expect("plain data");
    fs::write(&staged, text)
        .and_then(|()| fs::rename(&staged, &path))
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn plan(dir: &Path, size: Size, s3: Option<SocketAddr>) -> Result<Cluster, String> {
    let mut nodes = Vec::new();
    let mut add = |role: Role, number: Option<u32>| {
        let [http, grpc, mysql, postgres] = ports::free()?;
        let name = number.map_or(role.name().to_owned(), |number| format!("{}-{number}", role.name()));
        let folder = dir.join(&name);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        nodes.push(Node {
            log: folder.join("log"),
            name,
            role,
            pid: 0,
            http: s3.filter(|_| role == Role::S3).unwrap_or(http),
            grpc: (!matches!(role, Role::S3 | Role::Frontend)).then_some(grpc),
            mysql: (role == Role::Frontend).then_some(mysql),
            postgres: (role == Role::Frontend).then_some(postgres),
        });
        Ok::<_, String>(())
    };
    add(Role::Etcd, None)?;
    add(Role::S3, None)?;
    (0..size.metasrvs).try_for_each(|number| add(Role::Metasrv, Some(number)))?;
    (0..size.datanodes).try_for_each(|number| add(Role::Datanode, Some(number)))?;
    (0..size.frontends).try_for_each(|number| add(Role::Frontend, Some(number)))?;
    Ok(Cluster { nodes })
}

fn spawn(dir: &Path, varve: &Path, node: &Node, all: &[Node]) -> Result<Child, String> {
    let folder = dir.join(&node.name);
    let mut command = match node.role {
        Role::Etcd => etcd::command(&folder.join("data"), node.http, node.grpc.expect("the peer port")),
        Role::S3 => {
            let mut command = Command::new(std::env::current_exe().map_err(|error| error.to_string())?);
            command.arg("s3").arg("--folder").arg(folder.join("data")).args(["--addr", &node.http.to_string()]);
            command
        }
        Role::Metasrv | Role::Datanode | Role::Frontend => {
            let file = folder.join("varve.toml");
            fs::write(&file, config::of(node, all, &folder)).map_err(|error| format!("{}: {error}", file.display()))?;
            let mut command = Command::new(varve);
            command.arg(node.role.name()).arg("--config").arg(file);
            // Credentials never stand in a settings file.
            command.env("AWS_ACCESS_KEY_ID", s3::ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", s3::SECRET_KEY);
            command
        }
    };
    let log = fs::OpenOptions::new().create(true).append(true).open(&node.log);
    let log = log.map_err(|error| format!("{}: {error}", node.log.display()))?;
    let errors = log.try_clone().map_err(|error| error.to_string())?;
    // A group of its own: what stops the terminal's programs does not stop the cluster.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.stdin(Stdio::null()).stdout(log).stderr(errors);
    command.spawn().map_err(|error| format!("start {}: {error}", node.name))
}

#[allow(clippy::disallowed_methods, reason = "real processes live in real time")]
fn wait_ready(node: &Node, mut child: Child) -> Result<(), String> {
    let start = Instant::now();
    while !serves(node) {
        let ended = matches!(child.try_wait(), Ok(Some(_)));
        if ended || start.elapsed() > READY_MAX {
            let log = fs::read_to_string(&node.log).unwrap_or_default();
            let last = log.lines().rev().take(10).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n");
            let what = if ended { "ended" } else { "does not serve" };
            return Err(format!("{} {what}; its last lines:\n{last}", node.name));
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    Ok(())
}

fn serves(node: &Node) -> bool {
    match node.role {
        Role::Etcd => etcd::is_ready(node.http),
        // Any answer, an error for a request without a signature included.
        Role::S3 => Client::connect(node.http).and_then(|mut client| client.get("/")).is_ok(),
        Role::Metasrv | Role::Datanode | Role::Frontend => {
            matches!(Client::connect(node.http).and_then(|mut client| client.get("/health")), Ok((200, _)))
        }
    }
}

/// The number in a node's name, which is a datanode's id.
fn number(node: &Node) -> u64 {
    node.name.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Whether the process is there and no zombie, and is the one that was started.
fn is_alive(node: &Node) -> bool {
    let proc = PathBuf::from(format!("/proc/{}", node.pid));
    let status = fs::read_to_string(proc.join("stat")).unwrap_or_default();
    let command = fs::read(proc.join("cmdline")).unwrap_or_default();
    let is_zombie = status.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'));
    let folder = node.log.parent().map(|folder| folder.to_string_lossy().into_owned()).unwrap_or_default();
    !is_zombie && String::from_utf8_lossy(&command).contains(&folder)
}

fn signal(node: &Node, signal: rustix::process::Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(node.pid) {
        // Gone already is as good.
        let _ = rustix::process::kill_process(pid, signal);
    }
}

#[allow(clippy::print_stdout, reason = "a program for people")]
fn say(text: &str) {
    println!("{text}");
}

fn welcome(dir: &Path, cluster: &Cluster) {
    say(&format!("the cluster serves; {}", dir.join("cluster.json").display()));
    for node in cluster.nodes.iter().filter(|node| node.role == Role::Frontend) {
        let addr = |addr: Option<SocketAddr>| addr.map(|addr| addr.to_string()).unwrap_or_default();
        say(&format!(
            "{}: HTTP http://{}  MySQL {}  PostgreSQL {}",
            node.name,
            node.http,
            addr(node.mysql),
            addr(node.postgres)
        ));
    }
    if let Some(node) = cluster.nodes.iter().find(|node| node.role == Role::Frontend) {
        say(&format!("write:  curl -i 'http://{}/write?db=public' --data-binary 'cpu,host=a usage=0.64'", node.http));
        say(&format!("read:   curl 'http://{}/v1/sql' -d 'sql=SELECT * FROM cpu'", node.http));
    }
    say(&format!("stop:   make cluster-down CLUSTER_DIR={}", dir.display()));
}
