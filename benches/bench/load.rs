//! Rows per second acked and visible, and CPU per stage.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::Options;
use crate::generate;
use crate::report::{self, Table};
use varve_rig::process::{Folder, Server, binary};

/// What a load cost.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) rows: u64,
    pub(crate) acked: Duration,
    pub(crate) visible: Duration,
    pub(crate) server_cpu: Duration,
    pub(crate) loader_cpu: Duration,
}

/// Writes the data set and waits until `count(*)` shows all of it.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) fn load(server: &Server, options: &Options) -> Result<Loaded, String> {
    let bodies: Vec<_> = generate::bodies(options.hosts, options.hours, options.batch, options.seed).collect();
    let rows: u64 = bodies.iter().map(|(_, rows)| *rows as u64).sum();
    let next = AtomicU64::new(0);
    let failure = Mutex::new(None);
    let (cpu_before, loader_before, start) = (server.cpu(), own_cpu(), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..options.workers {
            scope.spawn(|| {
                let outcome = server.client().and_then(|mut client| {
                    while let Some((body, _)) = bodies.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                        let (status, text) = client.post("/write?db=public", "text/plain", body)?;
                        if status != 204 {
                            return Err(format!("write: {status} {text}"));
                        }
                    }
                    Ok(())
                });
                if let Err(error) = outcome {
                    failure.lock().expect("no worker panics").get_or_insert(error);
                }
            });
        }
    });
    if let Some(error) = failure.into_inner().expect("no worker panics") {
        return Err(error);
    }
    let (acked, loader_cpu) = (start.elapsed(), own_cpu().saturating_sub(loader_before));
    let mut client = server.client()?;
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
        server_cpu: server.cpu().saturating_sub(cpu_before),
        loader_cpu,
    })
}

fn own_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().into_iter().flat_map(|rest| rest.split_whitespace().skip(11).take(2));
    Duration::from_millis(fields.filter_map(|field| field.parse::<u64>().ok()).sum::<u64>() * 10)
}

/// The report of `make bench-load`.
pub(crate) fn run(options: &Options) -> Result<String, String> {
    let folder = Folder::create("bench")?;
    let server = Server::start(&binary(env!("CARGO_BIN_EXE_varve")), folder.path(), &[])?;
    let loaded = load(&server, options)?;
    let per_million = 1e6 / loaded.rows as f64;
    let mut table = Table::new("load", options);
    table.row("rows", loaded.rows as f64, "");
    table.row("acked", loaded.rows as f64 / loaded.acked.as_secs_f64(), "rows/s, D1 (fdatasync before the reply)");
    table.row("visible", loaded.rows as f64 / loaded.visible.as_secs_f64(), "rows/s until count(*) equals rows sent");
    table.row("server_cpu", loaded.server_cpu.as_secs_f64() * per_million, "CPU-s per million rows");
    table.row("loader_cpu", loaded.loader_cpu.as_secs_f64() * per_million, "CPU-s per million rows, not in the above");
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
