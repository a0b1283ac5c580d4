//! Whether regions are served again: asked of a frontend, as any client could.
//!
//! A region is served when its route is open and the session that owns it says
//! so in its beats; the report of a session that has ended is gone with it.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Cluster, Node, Role, is_alive, number, read, say};
use crate::http::Client;

/// How long regions may take to open: a dead session's lease, the seal, the replay.
const OPEN_MAX: Duration = Duration::from_mins(2);
const PAUSE: Duration = Duration::from_millis(100);

/// Regions that are not served: a name for people, and the number of the node they are at. Damaged ones stay so.
const UNSERVED: &str = "SELECT r.table_schema, r.table_name, r.region_number, r.status, r.node_id \
    FROM information_schema.regions r LEFT JOIN information_schema.region_statistics s \
    ON s.region_id = r.region_id AND s.session = r.session \
    WHERE r.status <> 'corrupt' AND (r.status <> 'open' OR s.session IS NULL)";

/// A region that is not served.
#[derive(Debug, PartialEq, Eq)]
struct Unserved {
    name: String,
    node: u64,
}

/// Returns when the regions at all living datanodes are served. Errors: some are not after two minutes.
///
/// Without a frontend nobody can be asked: that is said, and no error.
#[allow(clippy::disallowed_methods, reason = "real processes live in real time")]
pub fn wait_served(dir: &Path) -> Result<(), String> {
    let start = Instant::now();
    loop {
        let cluster = read(dir)?;
        let Some(frontend) = alive(&cluster, Role::Frontend).next() else {
            say("no frontend runs: whether the regions are served is not known");
            return Ok(());
        };
        let nodes = alive(&cluster, Role::Datanode).map(number).collect::<Vec<_>>();
        let asked = unserved(frontend).map(|mut all| {
            // Those of a dead node wait for its lease, or for the node.
            all.retain(|region| nodes.contains(&region.node));
            all
        });
        match &asked {
            Ok(left) if left.is_empty() => return Ok(()),
            _ if start.elapsed() < OPEN_MAX => std::thread::park_timeout(PAUSE),
            Ok(left) => {
                let names = left.iter().take(5).map(|region| region.name.as_str()).collect::<Vec<_>>().join(", ");
                return Err(format!("{} regions are not served after {OPEN_MAX:?}: {names}", left.len()));
            }
            Err(error) => return Err(format!("{} does not tell which regions are served: {error}", frontend.name)),
        }
    }
}

fn alive(cluster: &Cluster, role: Role) -> impl Iterator<Item = &Node> {
    cluster.nodes.iter().filter(move |node| node.role == role && is_alive(node))
}

fn unserved(frontend: &Node) -> Result<Vec<Unserved>, String> {
    let body = Client::connect(frontend.http)?.sql_as("greptimedb_v1", UNSERVED)?;
    let reply: Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
    let rows = reply["output"][0]["records"]["rows"].as_array().ok_or_else(|| format!("no rows: {body}"))?;
    rows.iter().map(region).collect()
}

fn region(row: &Value) -> Result<Unserved, String> {
    let text = |at: usize| row[at].as_str().map_or_else(|| row[at].to_string(), str::to_owned);
    let node = row[4].as_u64().ok_or_else(|| format!("no node in {row}"))?;
    Ok(Unserved { name: format!("{}.{} region {} ({})", text(0), text(1), text(2), text(3)), node })
}
