//! A query over several regions, one of which fails: a retry or a clear error, never a part of the rows.

#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::Value;
use tokio::sync::mpsc;
use varve_rig::cluster::{self, Role};

use crate::cluster::{Running, size};
use crate::kit::{Door, percent};
use crate::watch::PROMPT;

const ROWS: u64 = 40_000;
const CREATE: &str =
    "CREATE TABLE m (host STRING PRIMARY KEY, t TIMESTAMP(9) TIME INDEX, v DOUBLE) WITH (regions = '4')";

async fn filled() -> Option<(Running, Door)> {
    let running = Running::start(size(2, 1, 1)).await?;
    let door = running.door(0);
    door.run(CREATE).await;
    for first in (0..ROWS).step_by(10_000) {
        let lines = (first..first + 10_000)
            .map(|row| format!("m,host=h{} v={row} {}\n", row % 97, row + 1))
            .collect::<String>();
        assert_eq!(door.write("/write?db=public", lines).await.0, 204);
    }
    Some((running, door))
}

/// Asks with a time limit; status, answer, and how long it took.
async fn ask(door: &Door, sql: &str, limit: &str) -> (u16, Value, Duration) {
    let start = Instant::now();
    let request = door.request("public", sql).header("x-varve-timeout", limit);
    let reply = request.send().await.expect("a reply");
    let (status, text) = (reply.status().as_u16(), reply.text().await.unwrap_or_default());
    (status, serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.clone())), start.elapsed())
}

/// Asks until there is an answer, which must be the whole one; how many errors came before.
async fn whole_in_the_end(door: &Door, limit: &str) -> u32 {
    for errors in 0..200 {
        let (status, reply, _) = ask(door, "SELECT count(*), sum(v) FROM m", limit).await;
        if status == 200 {
            let sum = ROWS * (ROWS - 1) / 2;
            assert_eq!(reply["output"][0]["records"]["rows"].to_string(), format!("[[{ROWS},{sum}.0]]"));
            return errors;
        }
        assert!(reply["error"].as_str().is_some_and(|text| !text.is_empty()), "{status}: {reply}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datanode_that_stands_still_is_a_clear_error_by_the_deadline() {
    let Some((running, door)) = filled().await else { return };
    let victim = running.nodes(Role::Datanode).remove(0);
    cluster::pause(&victim);
    for sql in ["SELECT count(*), sum(v) FROM m", "SELECT * FROM m", "SELECT host, avg(v) FROM m GROUP BY host"] {
        let (status, reply, took) = ask(&door, sql, "2s").await;
        assert_eq!((status, reply["code"].as_u64()), (504, Some(1008)), "{sql}: {reply}");
        let text = reply["error"].as_str().expect("a text");
        assert!(text.contains("2s"), "{text}");
        assert!(took < Duration::from_secs(2) + PROMPT, "{sql}: {took:?}");
    }
    // After its lease the others have its regions.
    whole_in_the_end(&door, "5s").await;
    cluster::resume(&victim);
    assert_eq!(whole_in_the_end(&door, "30s").await, 0, "what wakes up harms nothing");
}

/// Reads all rows as they come, and tells when the first have; `None` when the answer broke off or was refused.
async fn stream(door: &Door, begun: mpsc::Sender<()>) -> Option<u64> {
    // More than a frontend holds back, so that it answers before it has read all rows.
    let sql = "SELECT host, t, v, repeat(host, 200) AS long FROM m";
    let form = format!("format=csv&sql={}", percent(sql));
    let request = door.http.post(door.url("/v1/sql")).header("content-type", "application/x-www-form-urlencoded");
    let reply = request.body(form).send().await.ok()?;
    if reply.status() != 200 {
        return None;
    }
    let mut lines = 0;
    let mut body = reply.bytes_stream();
    while let Some(piece) = body.next().await {
        lines += piece.ok()?.split(|byte| *byte == b'\n').count() as u64 - 1;
        // Room for those who tell after the first one does not matter.
        let _ = begun.try_send(());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Some(lines)
}

/// A stream that nothing disturbs.
async fn stream_whole(door: &Door) {
    let (begun, _told) = mpsc::channel(1);
    assert_eq!(stream(door, begun).await, Some(ROWS));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datanode_that_dies_in_mid_query_is_a_retry_or_an_error_and_never_a_part() {
    let Some((running, door)) = filled().await else { return };
    stream_whole(&door).await;
    let victim = running.nodes(Role::Datanode).remove(0);
    let (begun, mut told) = mpsc::channel(1);
    let streams = (0..3).map(|_| {
        let (door, begun) = (door.clone(), begun.clone());
        tokio::spawn(async move { stream(&door, begun).await })
    });
    let streams = streams.collect::<Vec<_>>();
    drop(begun);
    let counts = (0..4).map(|_| {
        let door = door.clone();
        tokio::spawn(async move { whole_in_the_end(&door, "10s").await })
    });
    let counts = counts.collect::<Vec<_>>();
    told.recv().await.expect("rows come before anything is wrong");
    cluster::kill(&victim);
    for stream in streams {
        let rows = stream.await.expect("no panic");
        assert!(rows.is_none_or(|rows| rows == ROWS), "a part of the rows: {rows:?}");
    }
    for count in counts {
        count.await.expect("whole answers only");
    }
    whole_in_the_end(&door, "10s").await;
    stream_whole(&door).await;
}
