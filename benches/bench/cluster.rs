//! A cluster on one machine: what acknowledging into the bucket costs, in time and in requests.
//!
//! The bucket's server runs in the loader's process, so its CPU time is in the
//! loader's figure; both cores are shared by nine processes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use varve_rig::cluster::{self, Cluster, Role, Size};
use varve_rig::http::Client;
use varve_rig::process::{Folder, binary};
use varve_rig::s3::{Counts, Objects, Operation, Server};

use crate::Options;
use crate::load::{Target, load};
use crate::report::{self, Table};

const SIZE: Size = Size { datanodes: 3, frontends: 2, metasrvs: 3 };
/// Two regions per datanode.
const CREATE: &str = "CREATE TABLE cpu (hostname STRING, region STRING, datacenter STRING, rack STRING, os STRING, \
    arch STRING, team STRING, service STRING, service_version STRING, service_environment STRING, \
    ts TIMESTAMP(9) TIME INDEX, PRIMARY KEY (hostname, region, datacenter, rack, os, arch, team, service, \
    service_version, service_environment)) WITH (regions = '6')";
/// TSBS double-groupby-1 over the first twelve hours.
const DOUBLE_GROUPBY: &str = "SELECT date_trunc('hour', ts) AS hour, hostname, avg(usage_user) FROM cpu \
    WHERE ts >= '2016-01-01T00:00:00Z' AND ts < '2016-01-01T12:00:00Z' GROUP BY hour, hostname";

/// Stops the processes.
struct Running(PathBuf);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = cluster::down(&self.0);
    }
}

/// The report of `make bench-cluster`.
pub(crate) fn run(options: &Options) -> Result<String, String> {
    let folder = Folder::create("bench-cluster")?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let objects = Objects::in_folder(&folder.path().join("bucket")).map_err(|error| error.to_string())?;
    let any = "127.0.0.1:0".parse().expect("an address");
    let s3 = runtime.block_on(Server::start(any, objects)).map_err(|error| format!("S3 server: {error}"))?;
    let dir = folder.path().join("cluster");
    let running = Running(dir.clone());
    cluster::up(&dir, &binary(env!("CARGO_BIN_EXE_varve")), SIZE, Some(s3.addr))?;
    let nodes = cluster::read(&dir)?;
    let target = Target::cluster(&nodes);
    let mut client = target.client(0)?;
    client.sql(CREATE)?;

    let mut table = Table::new("cluster", options);
    let before = s3.counts();
    let loaded = load(&target, options)?;
    loaded.report(&mut table, "D2 (in the bucket before the reply), 3 datanodes, 2 frontends, 6 regions");
    requests(&mut table, "load", &before, &s3.counts(), loaded.rows);
    client.sql("ADMIN flush_table('cpu')")?;
    requests(&mut table, "load_and_flush", &before, &s3.counts(), loaded.rows);
    double_groupby(&mut table, &nodes, &mut client)?;
    idle(&mut table, &s3, options.idle_s);
    drop(running);
    Ok(table.render())
}

fn requests(table: &mut Table, what: &str, before: &Counts, after: &Counts, rows: u64) {
    for (name, operation) in [("put", Operation::Put), ("get", Operation::Get), ("list", Operation::List)] {
        let count = count(after, operation) - count(before, operation);
        table.row(&format!("{what}_{name}"), count as f64 * 1e6 / rows as f64, "requests per million rows");
    }
}

fn count(counts: &Counts, operation: Operation) -> u64 {
    counts.get(&operation).copied().unwrap_or(0)
}

/// What crosses between the roles for a query that groups by host and hour.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn double_groupby(table: &mut Table, nodes: &Cluster, client: &mut Client) -> Result<(), String> {
    let crossed = || -> Result<(f64, f64), String> {
        let mut total = (0.0, 0.0);
        for node in nodes.nodes.iter().filter(|node| matches!(node.role, Role::Datanode | Role::Frontend)) {
            let (_, text) = Client::connect(node.http)?.get("/metrics")?;
            total.0 += report::metric(&text, "varve_datanode_requests_total{verb=\"scan\"}");
            total.1 += report::metric(&text, "varve_stage_rows_total{stage=\"exchange\"}");
        }
        Ok(total)
    };
    let (before, start) = (crossed()?, Instant::now());
    let groups = client.sql_as("csv", DOUBLE_GROUPBY)?.lines().count();
    let spent = start.elapsed();
    let after = crossed()?;
    table.row("double_groupby_1", spent.as_secs_f64() * 1e3, "ms, 12 h, first run after the flush");
    table.row("double_groupby_1_groups", groups as f64, "rows of the answer");
    table.row("double_groupby_1_rpcs", after.0 - before.0, "requests to datanodes");
    table.row("double_groupby_1_rows", after.1 - before.1, "rows that crossed to the frontend");
    Ok(())
}

/// What a cluster without clients sends to the bucket, once it has settled.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn idle(table: &mut Table, s3: &Server, seconds: u64) {
    if seconds == 0 {
        return;
    }
    // Merges of what was just flushed, and deletions after their two minutes of grace, are work and not idleness.
    let quiet = Duration::from_mins(3);
    let (mut seen, mut since, start) = (s3.counts(), Instant::now(), Instant::now());
    while since.elapsed() < quiet {
        pause(Duration::from_secs(1));
        let now = s3.counts();
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
    table.row(
        "settled",
        start.elapsed().saturating_sub(quiet).as_secs_f64(),
        "s until three minutes without a request began",
    );
    pause(Duration::from_secs(seconds));
    let sent: u64 = s3.counts().iter().map(|(operation, now)| now - count(&seen, *operation)).sum();
    table.row("idle", sent as f64, &format!("requests to the bucket in {seconds} s without clients"));
}

/// Watching takes as long as it is said to.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn pause(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::thread::park_timeout(time.saturating_sub(start.elapsed()));
    }
}
