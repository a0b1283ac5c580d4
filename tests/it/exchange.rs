//! Queries of several stages on a cluster of real processes: answers, figures, losses and ends.

#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

use std::time::{Duration, Instant};

use serde_json::Value;
use varve_rig::cluster::{self, Node, Role};

use crate::cluster::{Running, eventually, never_partial, size};
use crate::kit::{Door, Varve};

const ROWS: usize = 20_000;

/// Two tables of four regions; `n` repeats, `k` is different in every row.
async fn fill(door: &Door) {
    for table in ["a", "b"] {
        door.run(&format!(
            "CREATE TABLE {table} (host STRING PRIMARY KEY, t TIMESTAMP(9) TIME INDEX, n BIGINT, k BIGINT) WITH (regions = '4')"
        ))
        .await;
        let line = |row: usize| format!("{table},host=h{} n={}i,k={row}i {}\n", row % 97, row % 40, row + 1);
        let lines = (0..ROWS).map(line).collect::<String>();
        assert_eq!(door.write("/write?db=public", lines).await.0, 204);
    }
}

const QUERIES: [&str; 7] = [
    "SELECT count(*), sum(a.k) FROM a JOIN b ON a.k = b.k",
    "SELECT a.host, count(*) FROM a JOIN b ON a.k = b.k AND a.host = b.host WHERE b.n < 7 GROUP BY a.host ORDER BY a.host",
    "SELECT k, count(*) c FROM a GROUP BY k ORDER BY c DESC, k LIMIT 5",
    "SELECT count(*) FROM (SELECT DISTINCT n, host FROM a)",
    "SELECT sum(r) FROM (SELECT row_number() OVER (PARTITION BY n ORDER BY k) r FROM a)",
    "SELECT count(*) FROM a LEFT JOIN b ON a.k = b.k + 10000 WHERE b.k IS NULL",
    "SELECT count(*) FROM a WHERE k > (SELECT avg(x.k) FROM a x JOIN b y ON x.k = y.k)",
];

/// A query that runs for minutes: every row of `a` meets five hundred of `b`, and so on.
const ENDLESS: &str = "SELECT count(*) FROM a JOIN b ON a.n = b.n JOIN a c ON b.n = c.n JOIN b d ON c.n = d.n WHERE a.k + b.k + c.k + d.k < 0";

/// A counter of a process's `/metrics`.
async fn rows_of(node: &Node, stage: &str) -> u64 {
    let reply = reqwest::get(format!("http://{}/metrics", node.http)).await.expect("a reply");
    let page = reply.text().await.expect("a page");
    let name = format!("varve_stage_rows_total{{stage=\"{stage}\"}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("no {name}")).parse().expect("a number")
}

async fn rows_of_all(nodes: &[Node], stage: &str) -> u64 {
    let mut rows = 0;
    for node in nodes {
        rows += rows_of(node, stage).await;
    }
    rows
}

/// CPU time of a process so far, in hundredths of a second.
fn cpu(node: &Node) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", node.pid)).expect("it lives");
    let after_name = stat.rsplit(')').next().expect("a name in parentheses");
    let ticks = |at: usize| after_name.split_whitespace().nth(at).and_then(|text| text.parse::<u64>().ok());
    ticks(11).expect("user time") + ticks(12).expect("system time")
}

async fn wait_for(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_mins(1), "{what} took more than a minute");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn datanodes_exchange_rows_and_answer_what_standalone_answers() {
    let Some(running) = Running::start(size(3, 1, 1)).await else { return };
    let (door, alone) = (running.door(0), Varve::start().await);
    fill(&door).await;
    fill(&alone).await;
    let frontend = running.nodes(Role::Frontend).remove(0);
    let datanodes = running.nodes(Role::Datanode);
    for query in QUERIES {
        let (crossed, shuffled) = (rows_of(&frontend, "exchange").await, rows_of_all(&datanodes, "shuffle").await);
        assert_eq!(door.rows(query).await, alone.rows(query).await, "{query}");
        let crossed = rows_of(&frontend, "exchange").await - crossed;
        let shuffled = rows_of_all(&datanodes, "shuffle").await - shuffled;
        assert!(shuffled > 0, "{query}");
        // Without the exchange, all rows of a table meet at the frontend; the value of a subquery is known only there.
        if !query.contains("avg(") {
            assert!(crossed < ROWS as u64 / 10, "{query}: {crossed} rows crossed to the frontend");
        }
    }
    let explained = door.rows(&format!("EXPLAIN {}", QUERIES[0])).await;
    assert!(Value::Array(explained).to_string().contains("ShuffleExec: nodes=3"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datanode_killed_in_mid_query_is_an_error_and_its_regions_answer_again() {
    let Some(running) = Running::start(size(3, 1, 1)).await else { return };
    let door = running.door(0);
    fill(&door).await;
    let datanodes = running.nodes(Role::Datanode);
    let before = rows_of_all(&datanodes, "shuffle").await;
    let asked = tokio::spawn({
        let door = door.clone();
        async move { door.sql(ENDLESS).await }
    });
    wait_for("the exchange", async || rows_of_all(&datanodes, "shuffle").await > before).await;
    let start = Instant::now();
    cluster::kill(&datanodes[1]);
    let (status, reply) = asked.await.expect("no panic");
    assert!(status >= 500, "{status} {reply}");
    assert!(start.elapsed() < Duration::from_secs(20), "the loss was noticed after {:?}", start.elapsed());
    // Regions that nobody owns yet are errors, routes of yesterday are planned again.
    for query in QUERIES.iter().take(4) {
        never_partial(&door, query, &Value::Array(expected(query)).to_string()).await;
    }
    eventually(&door, "SELECT count(*) FROM a JOIN b ON a.k = b.k", &format!("[[{ROWS}]]")).await;
}

/// Worked out by hand from what `fill` writes.
fn expected(query: &str) -> Vec<Value> {
    let rows = ROWS as i64;
    let of = |row: &[Value]| Value::Array(row.to_vec());
    match query {
        query if query == QUERIES[0] => vec![of(&[rows.into(), (rows * (rows - 1) / 2).into()])],
        query if query == QUERIES[1] => (0..97)
            .map(|host| (format!("h{host}"), (0..ROWS).filter(|row| row % 97 == host && row % 40 < 7).count()))
            .collect::<std::collections::BTreeMap<_, _>>()
            .into_iter()
            .map(|(host, count)| of(&[host.into(), count.into()]))
            .collect(),
        query if query == QUERIES[2] => (0..5).map(|k| of(&[k.into(), 1.into()])).collect(),
        _ => vec![of(&[(97 * 40).into()])],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_ends_the_work_of_all_nodes_within_a_second() {
    let Some(running) = Running::start(size(3, 1, 1)).await else { return };
    let door = running.door(0);
    fill(&door).await;
    let datanodes = running.nodes(Role::Datanode);
    let before = rows_of_all(&datanodes, "shuffle").await;
    let asked = tokio::spawn({
        let door = door.clone();
        async move { door.sql(ENDLESS).await }
    });
    wait_for("the exchange", async || rows_of_all(&datanodes, "shuffle").await > before + ROWS as u64).await;
    let working = datanodes.iter().map(cpu).sum::<u64>();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let spent = datanodes.iter().map(cpu).sum::<u64>() - working;
    assert!(spent > 20, "the query is not at work: {spent} hundredths of a second");
    asked.abort();
    assert!(asked.await.is_err_and(|error| error.is_cancelled()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let ended = datanodes.iter().map(cpu).sum::<u64>();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let spent = datanodes.iter().map(cpu).sum::<u64>() - ended;
    assert!(spent < 30, "{spent} hundredths of a second were spent after the end");
    let count = door.rows("SELECT count(*) FROM a JOIN b ON a.k = b.k").await;
    assert_eq!(Value::Array(count).to_string(), format!("[[{ROWS}]]"));
}
