//! Queries of several stages on a cluster of real processes: answers, figures, losses and ends.

#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinHandle;
use varve_rig::cluster::{self, Node, Role};

use crate::cluster::{Running, eventually, never_partial, size};
use crate::kit::{Door, Varve};
use crate::watch::{PATIENCE, cpu, metric, until, until_at_rest};

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

const TO_FRONTEND: &str = "varve_stage_rows_total{stage=\"exchange\"}";
const BETWEEN_DATANODES: &str = "varve_stage_rows_total{stage=\"shuffle\"}";

/// A cluster with full tables, and its datanodes.
async fn filled() -> Option<(Running, Door, Vec<Node>)> {
    let running = Running::start(size(3, 1, 1)).await?;
    let door = running.door(0);
    fill(&door).await;
    let datanodes = running.nodes(Role::Datanode);
    Some((running, door, datanodes))
}

/// Asks [`ENDLESS`] and returns when datanodes have exchanged rows for it.
async fn ask_endless(door: &Door, datanodes: &[Node]) -> JoinHandle<(u16, Value)> {
    let before = metric(datanodes, BETWEEN_DATANODES).await;
    let asked = tokio::spawn({
        let door = door.clone();
        async move { door.sql(ENDLESS).await }
    });
    until("rows are exchanged", PATIENCE, async || {
        let exchanged = metric(datanodes, BETWEEN_DATANODES).await - before;
        if exchanged > ROWS as u64 { Ok(()) } else { Err(format!("{exchanged} rows")) }
    })
    .await;
    asked
}

#[tokio::test(flavor = "multi_thread")]
async fn datanodes_exchange_rows_and_answer_what_standalone_answers() {
    let Some((running, door, datanodes)) = filled().await else { return };
    let alone = Varve::start().await;
    fill(&alone).await;
    let frontends = running.nodes(Role::Frontend);
    for query in QUERIES {
        let (crossed, shuffled) = (metric(&frontends, TO_FRONTEND).await, metric(&datanodes, BETWEEN_DATANODES).await);
        assert_eq!(door.rows(query).await, alone.rows(query).await, "{query}");
        let crossed = metric(&frontends, TO_FRONTEND).await - crossed;
        let shuffled = metric(&datanodes, BETWEEN_DATANODES).await - shuffled;
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
    let Some((_running, door, datanodes)) = filled().await else { return };
    let asked = ask_endless(&door, &datanodes).await;
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
async fn a_client_that_goes_away_ends_the_work_of_all_nodes() {
    let Some((_running, door, datanodes)) = filled().await else { return };
    let asked = ask_endless(&door, &datanodes).await;
    let begun = cpu(&datanodes);
    until("the datanodes are at work", PATIENCE, async || match cpu(&datanodes) - begun {
        spent if spent > 20 => Ok(()),
        spent => Err(format!("{spent} hundredths of a second")),
    })
    .await;
    asked.abort();
    assert!(asked.await.is_err_and(|error| error.is_cancelled()));
    until_at_rest(&datanodes).await;
    let count = door.rows("SELECT count(*) FROM a JOIN b ON a.k = b.k").await;
    assert_eq!(Value::Array(count).to_string(), format!("[[{ROWS}]]"));
}
