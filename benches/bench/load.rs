//! Rows per second acked and visible, and CPU per stage.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::Options;
use crate::generate;
use crate::report::{self, Table};
use varve_rig::cluster::{Cluster, Role};
use varve_rig::http::Client;
use varve_rig::process::{Folder, Server, binary, cpu_of};

/// What is loaded: the servers that take requests and all processes that work for them.
#[derive(Debug)]
pub(crate) struct Target {
    http: Vec<SocketAddr>,
    pids: Vec<u32>,
}

impl Target {
    /// One process.
    pub(crate) fn standalone(server: &Server) -> Self {
        Self { http: vec![server.http], pids: vec![server.pid()] }
    }

    /// The frontends of a cluster; etcd and the bucket's server are not counted.
    pub(crate) fn cluster(cluster: &Cluster) -> Self {
        let of = |role| cluster.nodes.iter().filter(move |node| node.role == role);
        let ours = [Role::Metasrv, Role::Datanode, Role::Frontend].into_iter().flat_map(of);
        Self {
            http: of(Role::Frontend).map(|node| node.http).collect(),
            pids: ours.map(|node| node.pid as u32).collect(),
        }
    }

    /// A connection; consecutive numbers go to different servers.
    pub(crate) fn client(&self, number: usize) -> Result<Client, String> {
        Client::connect(self.http[number % self.http.len()])
    }

    fn cpu(&self) -> Duration {
        self.pids.iter().map(|pid| cpu_of(*pid)).sum()
    }
}

/// What a load cost.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) rows: u64,
    pub(crate) acked: Duration,
    pub(crate) visible: Duration,
    pub(crate) server_cpu: Duration,
    pub(crate) loader_cpu: Duration,
    /// Time of each request, ascending.
    acks: Vec<Duration>,
}

impl Loaded {
    /// The rows that every benchmark of a load has. `durability`: what an acknowledgement means.
    pub(crate) fn report(&self, table: &mut Table, durability: &str) {
        let per_million = 1e6 / self.rows as f64;
        let percentile = |percent: usize| self.acks[(self.acks.len() - 1) * percent / 100].as_secs_f64() * 1e3;
        table.row("rows", self.rows as f64, "");
        table.row("acked", self.rows as f64 / self.acked.as_secs_f64(), &format!("rows/s, {durability}"));
        table.row("visible", self.rows as f64 / self.visible.as_secs_f64(), "rows/s until count(*) equals rows sent");
        table.row("ack_p50", percentile(50), "ms from request to reply");
        table.row("ack_p99", percentile(99), "ms from request to reply");
        table.row("server_cpu", self.server_cpu.as_secs_f64() * per_million, "CPU-s per million rows");
        table.row(
            "loader_cpu",
            self.loader_cpu.as_secs_f64() * per_million,
            "CPU-s per million rows, not in the above",
        );
    }
}

/// Writes the data set and waits until `count(*)` shows all of it.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) fn load(target: &Target, options: &Options) -> Result<Loaded, String> {
    let bodies: Vec<_> = generate::bodies(options.hosts, options.hours, options.batch, options.seed).collect();
    let rows: u64 = bodies.iter().map(|(_, rows)| *rows as u64).sum();
    let (cpu_before, loader_before, start) = (target.cpu(), cpu_of(std::process::id()), Instant::now());
    let mut acks = write(target, &bodies, options.workers)?;
    let (acked, loader_cpu) = (start.elapsed(), cpu_of(std::process::id()).saturating_sub(loader_before));
    acks.sort_unstable();
    let mut client = target.client(0)?;
    loop {
        let seen = client.sql("SELECT count(*) FROM cpu")?.as_u64().unwrap_or(0);
        if seen == rows {
            break;
        }
        if start.elapsed() > acked + Duration::from_mins(1) {
            return Err(format!("{seen} of {rows} rows visible after a minute"));
        }
    }
    Ok(Loaded {
        rows,
        acked,
        visible: start.elapsed(),
        server_cpu: target.cpu().saturating_sub(cpu_before),
        loader_cpu,
        acks,
    })
}

/// Sends all bodies, each once, from so many connections; the time of each request. Errors: one was refused.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn write(target: &Target, bodies: &[(Vec<u8>, usize)], workers: usize) -> Result<Vec<Duration>, String> {
    let next = AtomicU64::new(0);
    let work = |number| {
        let mut client = target.client(number)?;
        let mut acks = Vec::new();
        while let Some((body, _)) = bodies.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
            let sent = Instant::now();
            let (status, text) = client.post("/write?db=public", "text/plain", body)?;
            if status != 204 {
                return Err(format!("write: {status} {text}"));
            }
            acks.push(sent.elapsed());
        }
        Ok::<_, String>(acks)
    };
    std::thread::scope(|scope| {
        let work = &work;
        let running = (0..workers).map(|number| scope.spawn(move || work(number))).collect::<Vec<_>>();
        let ended = running.into_iter().map(|worker| worker.join().expect("no worker panics"));
        ended.collect::<Result<Vec<_>, _>>().map(|acks| acks.concat())
    })
}

/// The report of `make bench-load`.
pub(crate) fn run(options: &Options) -> Result<String, String> {
    let folder = Folder::create("bench")?;
    let server = Server::start(&binary(env!("CARGO_BIN_EXE_varve")), folder.path(), &[])?;
    let loaded = load(&Target::standalone(&server), options)?;
    let mut table = Table::new("load", options);
    loaded.report(&mut table, "D1 (fdatasync before the reply)");
    table.row("rss_peak", server.rss_peak_mib() as f64, "MiB");
    for (stage, rows, nanos) in report::stages(&mut server.client()?)? {
        table.row(
            &format!("stage_{stage}"),
            nanos / loaded.rows as f64,
            &format!("ns per loaded row ({rows} rows passed)"),
        );
    }
    Ok(table.render())
}
