//! A whole cluster of real processes: kills and pauses under load, with requests in flight.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use varve_rig::cluster::{self, Cluster, Node, Role, Size};
use varve_rig::http::Client;
use varve_rig::process::binary;

use crate::rows::{Fate, Regions, body, judge};

const WRITERS: u64 = 4;
const SIZE: Size = Size { datanodes: 3, frontends: 2, metasrvs: 3 };
/// A paused process sleeps longer than the lease of 10 s and its margin.
const PAUSE: Duration = Duration::from_secs(15);
/// Within so long after the last fault everything must be served again.
const RECOVERY_MAX: Duration = Duration::from_mins(1);

const CREATE: &str = "CREATE TABLE torture (writer STRING, k STRING, \"at\" BIGINT, v BIGINT, \
     \"time\" TIMESTAMP(9) TIME INDEX, PRIMARY KEY (writer, k)) WITH (append_mode = 'true', regions = '6')";

/// What is done to the cluster in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Blow {
    /// A datanode is killed and started again at once.
    Datanode,
    /// A datanode is killed and stays away until others serve its regions.
    DatanodeForLong,
    TwoDatanodes,
    Leader,
    Frontend,
    AllDatanodes,
    Everything,
    /// A datanode sleeps longer than its lease.
    PausedDatanode,
    PausedLeader,
}

const KILLS: [Blow; 7] = [
    Blow::Datanode,
    Blow::Leader,
    Blow::DatanodeForLong,
    Blow::Frontend,
    Blow::TwoDatanodes,
    Blow::AllDatanodes,
    Blow::Everything,
];
const PAUSES: [Blow; 2] = [Blow::PausedDatanode, Blow::PausedLeader];

type Fates = Mutex<BTreeMap<(u64, u64), Fate>>;

/// Rounds of each kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds {
    pub(crate) kills: u64,
    pub(crate) pauses: u64,
}

/// What a round needs.
struct Rig<'a> {
    dir: &'a Path,
    random: u64,
    fates: &'a Fates,
    next: &'a AtomicU64,
}

/// Runs the rounds on one cluster and reports what happened. Its bucket is that of an S3 server that runs already, if
/// one is named.
pub(crate) fn run(dir: &Path, s3: Option<SocketAddr>, rounds: Rounds, seed: u64) -> Result<String, String> {
    let varve = binary(env!("CARGO_BIN_EXE_varve"));
    cluster::up(dir, &varve, SIZE, s3)?;
    let outcome = play(dir, rounds, seed);
    let stopped = cluster::down(dir);
    let report = outcome?;
    stopped.map(|()| report)
}

fn play(dir: &Path, rounds: Rounds, seed: u64) -> Result<String, String> {
    let (fates, next) = (Fates::default(), AtomicU64::new(0));
    let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut rig = Rig { dir, random, fates: &fates, next: &next };
    sql(&cluster::read(dir)?, 0, CREATE)?;
    let kills = (0..rounds.kills).map(|round| KILLS[round as usize % KILLS.len()]);
    let pauses = (0..rounds.pauses).map(|round| PAUSES[round as usize % PAUSES.len()]);
    let mut recoveries: BTreeMap<Blow, Vec<Duration>> = BTreeMap::new();
    let mut rows = 0;
    for (round, blow) in kills.chain(pauses).enumerate() {
        let (recovery, seen) = rig.round(blow).map_err(|error| format!("round {round} ({blow:?}): {error}"))?;
        recoveries.entry(blow).or_default().push(recovery);
        rows = seen;
    }
    let fates = fates.into_inner().expect("no writer panics");
    let count = |fate| fates.values().filter(|&&other| other == fate).count();
    let recoveries = recoveries.iter_mut().map(|(blow, times)| {
        times.sort_unstable();
        let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
        format!("{blow:?} x{} median {:.1} s, most {:.1} s", times.len(), median.as_secs_f64(), most.as_secs_f64())
    });
    Ok(format!(
        "cluster: {} kills, {} pauses; batches acked {}, refused {}, unknown {}; rows {rows}; recovery: {}",
        rounds.kills,
        rounds.pauses,
        count(Fate::Acked),
        count(Fate::Refused),
        count(Fate::Unknown),
        recoveries.collect::<Vec<_>>().join("; ")
    ))
}

impl Rig<'_> {
    fn draw(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }

    /// Load, blow, recovery, judgement. Returns how long until everything was served again, and the rows.
    #[allow(clippy::disallowed_methods, reason = "real processes live in real time")]
    fn round(&mut self, blow: Blow) -> Result<(Duration, u64), String> {
        let stop = AtomicBool::new(false);
        let before = Duration::from_millis(300 + self.draw(1500));
        let away = Duration::from_millis(200 + self.draw(2800));
        let first = self.draw(SIZE.datanodes.into());
        let addrs = frontends(&cluster::read(self.dir)?);
        let struck = std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (stop, fates, next, addrs) = (&stop, self.fates, self.next, &addrs);
                scope.spawn(move || write(writer, addrs[writer as usize % addrs.len()], fates, next, stop));
            }
            rest(before);
            let struck = self.strike(blow, first, away);
            rest(Duration::from_millis(500));
            stop.store(true, Ordering::Relaxed);
            struck
        });
        let start = struck?;
        let rows = self.judge(start)?;
        Ok((start.elapsed(), rows))
    }

    /// Carries the blow out; returns the moment from which recovery counts.
    #[allow(clippy::disallowed_methods, reason = "real processes live in real time")]
    fn strike(&self, blow: Blow, first: u64, away: Duration) -> Result<Instant, String> {
        let now = cluster::read(self.dir)?;
        let datanodes = now.nodes.iter().filter(|node| node.role == Role::Datanode).collect::<Vec<_>>();
        let some = |count: usize| (0..count).map(|at| datanodes[(first as usize + at) % datanodes.len()]).collect();
        let victims: Vec<&Node> = match blow {
            Blow::Datanode | Blow::DatanodeForLong | Blow::PausedDatanode => some(1),
            Blow::TwoDatanodes => some(2),
            Blow::AllDatanodes => some(datanodes.len()),
            Blow::Leader | Blow::PausedLeader => vec![leader(&now)?],
            Blow::Frontend => now.nodes.iter().filter(|node| node.role == Role::Frontend).take(1).collect(),
            Blow::Everything => now.nodes.iter().filter(|node| !matches!(node.role, Role::Etcd | Role::S3)).collect(),
        };
        match blow {
            Blow::PausedDatanode | Blow::PausedLeader => {
                for victim in &victims {
                    cluster::pause(victim);
                }
                rest(PAUSE);
                for victim in &victims {
                    cluster::resume(victim);
                }
                return Ok(Instant::now());
            }
            _ => victims.iter().for_each(|node| cluster::kill(node)),
        }
        let start = Instant::now();
        if blow == Blow::DatanodeForLong {
            // The others take over: everything is read before the dead one is back.
            let serves = |client: &mut Client| client.sql("SELECT count(*) FROM torture").map(|_| ());
            wait(start, || Client::connect(frontends(&now)[0]).and_then(|mut client| serves(&mut client)))?;
            eprintln!("torture: others served the regions after {:.1} s", start.elapsed().as_secs_f64());
        } else {
            rest(away);
        }
        let varve = binary(env!("CARGO_BIN_EXE_varve"));
        for victim in victims {
            cluster::start(self.dir, &varve, &victim.name)?;
        }
        Ok(start)
    }

    /// Reads everything through each frontend, as soon as that succeeds, and compares.
    #[allow(clippy::disallowed_methods, reason = "real processes live in real time")]
    fn judge(&self, start: Instant) -> Result<u64, String> {
        let now = cluster::read(self.dir)?;
        let mut rows = 0;
        for frontend in 0..frontends(&now).len() {
            let mut csv = String::new();
            wait(start, || {
                csv = sql(&now, frontend, "SELECT writer, \"at\", v FROM torture")?;
                Ok(())
            })?;
            rows = judge(&csv, &self.fates.lock().expect("no writer panics"), Regions::Several)?;
        }
        Ok(rows)
    }
}

#[allow(clippy::disallowed_methods, reason = "real processes live in real time")]
fn rest(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::thread::park_timeout(time.saturating_sub(start.elapsed()));
    }
}

/// Tries until it succeeds. Errors: the last one, when recovery takes too long.
#[allow(clippy::disallowed_methods, reason = "real processes live in real time")]
fn wait(start: Instant, mut attempt: impl FnMut() -> Result<(), String>) -> Result<(), String> {
    let patience = Instant::now() + RECOVERY_MAX;
    loop {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > patience => {
                return Err(format!("not served {:.1} s after the blow: {error}", start.elapsed().as_secs_f64()));
            }
            Err(_) => rest(Duration::from_millis(100)),
        }
    }
}

fn frontends(cluster: &Cluster) -> Vec<SocketAddr> {
    cluster.nodes.iter().filter(|node| node.role == Role::Frontend).map(|node| node.http).collect()
}

fn sql(cluster: &Cluster, frontend: usize, statement: &str) -> Result<String, String> {
    Client::connect(frontends(cluster)[frontend])?.sql_as("csv", statement)
}

fn leader(cluster: &Cluster) -> Result<&Node, String> {
    let members = cluster.nodes.iter().filter(|node| node.role == Role::Metasrv);
    let leads = |node: &&Node| {
        let status = Client::connect(node.http).and_then(|mut client| client.get("/status"));
        status.is_ok_and(|(_, body)| body.contains("\"leader\":true"))
    };
    members.into_iter().find(leads).ok_or_else(|| "no metasrv leads".to_owned())
}

/// Writes batch after batch through one frontend until told to stop.
fn write(writer: u64, addr: SocketAddr, fates: &Fates, next: &AtomicU64, stop: &AtomicBool) {
    let mut client = None;
    while !stop.load(Ordering::Relaxed) {
        let Some(connected) = client.as_mut() else {
            client = Client::connect(addr).ok();
            if client.is_none() {
                rest(Duration::from_millis(20));
            }
            continue;
        };
        let batch = next.fetch_add(1, Ordering::Relaxed);
        let outcome = connected.post("/write?db=public", "text/plain", body("torture", writer, batch).as_bytes());
        let fate = match &outcome {
            Ok((204, _)) => Fate::Acked,
            Ok((400..500, _)) => Fate::Refused,
            Ok(_) | Err(_) => Fate::Unknown,
        };
        if let (Fate::Refused, Ok((status, text))) = (fate, &outcome) {
            eprintln!("torture: batch {batch} of writer {writer} was refused: {status} {text}");
        }
        fates.lock().expect("no writer panics").insert((writer, batch), fate);
        if outcome.is_err() {
            client = None;
        }
    }
}
