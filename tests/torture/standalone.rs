//! One process: load, kill, restart, judge.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use varve_rig::http::Client;
use varve_rig::process::{Server, binary};

use crate::rows::{Fate, Regions, body, judge};

const WRITERS: u64 = 4;

/// Where a fail point may end the process.
const POINTS: [&str; 9] = [
    "flush.freeze.after",
    "flush.sst.before",
    "flush.sst.after",
    "flush.release.before",
    "manifest.commit.before",
    "manifest.commit.after",
    "compaction.upload.after",
    "compaction.commit.before",
    "wal.trim.before",
];

/// Tiny sizes, so that every round flushes and compacts many times.
const TINY: [(&str, &str); 2] = [("VARVE_DATANODE__FLUSH_BYTES", "65536"), ("VARVE_DATANODE__COMPACT_EVERY_MS", "200")];

/// How long a fail point may take to be reached on a machine whose disk is busy: merges of the whole table come before.
const POINT_MAX: Duration = Duration::from_mins(5);

/// Rounds on one table. The next one has its own, so that merging and reading everything stays a matter of seconds.
const TABLE_ROUNDS: u64 = 6;

type Fates = Mutex<BTreeMap<(u64, u64), Fate>>;

/// A table and what the clients know of it.
struct Written {
    table: String,
    fates: Fates,
    next: AtomicU64,
}

impl Written {
    fn create(server: &Server, number: u64) -> Result<Self, String> {
        let table = format!("torture{number}");
        let create = format!(
            "CREATE TABLE {table} (writer STRING, k STRING, \"at\" BIGINT, v BIGINT, \"time\" TIMESTAMP(9) TIME INDEX, \
             PRIMARY KEY (writer, k)) WITH (append_mode = 'true')"
        );
        server.client()?.sql_as("greptimedb_v1", &create)?;
        Ok(Self { table, fates: Fates::default(), next: AtomicU64::new(0) })
    }

    /// The number of rows. Errors: one that was acknowledged is missing, or another is there.
    fn judge(&self, server: &Server) -> Result<u64, String> {
        let csv = server.client()?.sql_as("csv", &format!("SELECT writer, \"at\", v FROM {}", self.table))?;
        judge(&csv, &self.fates.lock().expect("no writer panics"), Regions::One)
    }

    fn count(&self, fate: Fate) -> usize {
        self.fates.lock().expect("no writer panics").values().filter(|&&other| other == fate).count()
    }
}

fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Runs the rounds on one data directory and reports what happened.
#[allow(clippy::disallowed_methods, reason = "real processes live in real time")]
#[allow(clippy::print_stdout, reason = "people watch it for a quarter of an hour")]
pub(crate) fn run(folder: &Path, rounds: u64, seed: u64) -> Result<String, String> {
    let varve = binary(env!("CARGO_BIN_EXE_varve"));
    let has_points = has_fail_points(&varve)?;
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut tables = Vec::new();
    let (mut ended_by, mut slowest) = (BTreeMap::<&str, u64>::new(), Duration::ZERO);
    for round in 0..rounds {
        if round % TABLE_ROUNDS == 0 {
            tables.push(Written::create(&Server::start(&varve, folder, &TINY)?, round / TABLE_ROUNDS)?);
        }
        let written = tables.last().expect("one was just made");
        let point = (has_points && round % 3 == 2).then(|| POINTS[(round / 3) as usize % POINTS.len()]);
        let nth = 1 + xorshift(&mut random) % 4;
        let fail = point.map(|point| format!("{point}={}*off->return", nth - 1)).unwrap_or_default();
        let mut env = TINY.to_vec();
        env.push(("FAILPOINTS", &fail));
        let start = Instant::now();
        let ended = match Server::start(&varve, folder, &env) {
            Ok(mut server) => {
                slowest = slowest.max(start.elapsed());
                let limit = Duration::from_millis(200 + xorshift(&mut random) % 2800);
                load(&mut server, written, if point.is_some() { POINT_MAX } else { limit })
            }
            // Replay flushes and trims, too: the point may end the process before it listens.
            Err(_) if point.is_some() => true,
            Err(error) => return Err(error),
        };
        let how = if ended { point.unwrap_or("itself, without a fail point") } else { "kill -9" };
        if let Some(point) = point
            && !ended
        {
            return Err(format!("round {round}: fail point {point} was not reached in {POINT_MAX:?}"));
        }
        if ended {
            *ended_by.entry(how).or_default() += 1;
        }
        let mut server = Server::start(&varve, folder, &TINY)?;
        let rows = written.judge(&server).map_err(|error| format!("round {round}: {error}"))?;
        server.kill();
        println!("round {round}: ended by {how}, {:.1?} with the judgement of {rows} rows", start.elapsed());
    }
    let server = Server::start(&varve, folder, &TINY)?;
    let rows = tables.iter().map(|written| written.judge(&server)).sum::<Result<u64, String>>()?;
    let of = |fate| tables.iter().map(|written| written.count(fate)).sum::<usize>();
    let points = if has_points { format!("{ended_by:?}") } else { "none, the binary has no fail points".to_owned() };
    Ok(format!(
        "{rounds} rounds; batches acked {}, refused {}, unknown {}; rows {rows}; slowest start {slowest:?}; ended by fail point: {points}",
        of(Fate::Acked),
        of(Fate::Refused),
        of(Fate::Unknown),
    ))
}

/// Whether the program was built with the feature `failpoints`, as it says itself.
fn has_fail_points(varve: &Path) -> Result<bool, String> {
    let output =
        Command::new(varve).arg("--version").output().map_err(|error| format!("{}: {error}", varve.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).contains("failpoints"))
}

/// Writes from all writers, then kills with requests in flight. Whether the server had ended by itself.
#[allow(clippy::disallowed_methods, reason = "real processes live in real time")]
fn load(server: &mut Server, written: &Written, limit: Duration) -> bool {
    let Written { table, fates, next } = written;
    let stop = AtomicBool::new(false);
    let addr = server.http;
    let start = Instant::now();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let stop = &stop;
            scope.spawn(move || {
                let Ok(mut client) = Client::connect(addr) else { return };
                while !stop.load(Ordering::Relaxed) {
                    let batch = next.fetch_add(1, Ordering::Relaxed);
                    let outcome = client.post("/write?db=public", "text/plain", body(table, writer, batch).as_bytes());
                    let fate = match &outcome {
                        Ok((204, _)) => Fate::Acked,
                        Ok((400..500, _)) => Fate::Refused,
                        Ok(_) | Err(_) => Fate::Unknown,
                    };
                    fates.lock().expect("no writer panics").insert((writer, batch), fate);
                    if outcome.is_err() {
                        return;
                    }
                }
            });
        }
        scope.spawn(|| {
            // Compaction would wait for windows to close and fill: it is asked for.
            let compact = format!("ADMIN compact_table('{table}')");
            let goes_on = || !stop.load(Ordering::Relaxed);
            while goes_on() {
                // One that was refused is asked for again; when the server has ended, nobody can be asked.
                let Ok(mut client) = Client::connect(addr) else { return };
                while goes_on() && client.sql(&compact).is_ok() {
                    std::thread::park_timeout(Duration::from_millis(50));
                }
                std::thread::park_timeout(Duration::from_millis(50));
            }
        });
        while start.elapsed() < limit && !server.has_ended() {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        let ended = server.kill();
        stop.store(true, Ordering::Relaxed);
        ended
    })
}
