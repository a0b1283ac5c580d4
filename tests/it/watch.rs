//! What a test sees of running processes from outside, and how it waits for something to become true.

#![allow(clippy::disallowed_methods, reason = "real processes live in real time")]

use std::time::{Duration, Instant};

use varve_rig::cluster::Node;

/// How long a test waits for what takes a moment.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// How long it waits for what is promised within a second: the rest is for a machine that is busy with other tests.
pub(crate) const PROMPT: Duration = Duration::from_secs(5);

/// Waits until a condition holds; what it says while it does not is what a failure shows.
pub(crate) async fn until(what: &str, patience: Duration, mut holds: impl AsyncFnMut() -> Result<(), String>) {
    let start = Instant::now();
    loop {
        match holds().await {
            Ok(()) => return,
            Err(found) if start.elapsed() > patience => panic!("{what} does not hold after {patience:?}: {found}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// The sum of one series, as `/metrics` writes its name and labels, over processes.
pub(crate) async fn metric(nodes: &[Node], series: &str) -> u64 {
    let mut sum = 0;
    for node in nodes {
        let reply = reqwest::get(format!("http://{}/metrics", node.http)).await.expect("a reply");
        let page = reply.text().await.expect("a page");
        let value = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = value.unwrap_or_else(|| panic!("{} has no {series}", node.name));
        sum += value.parse::<u64>().expect("a number");
    }
    sum
}

/// CPU time that processes have used so far, in hundredths of a second.
pub(crate) fn cpu(nodes: &[Node]) -> u64 {
    let of = |node: &Node| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", node.pid)).expect("it lives");
        let (_, after_name) = stat.rsplit_once(')').expect("a name in parentheses");
        // User and system time, the 14th and 15th field.
        let ticks = after_name.split_whitespace().skip(11).take(2).map(|text| text.parse::<u64>().expect("a number"));
        ticks.sum::<u64>()
    };
    nodes.iter().map(of).sum()
}

/// Waits until processes together use less than a fifth of one core.
pub(crate) async fn until_at_rest(nodes: &[Node]) {
    until("the processes rest", PROMPT, async || {
        let before = cpu(nodes);
        tokio::time::sleep(Duration::from_millis(500)).await;
        match cpu(nodes) - before {
            spent if spent < 10 => Ok(()),
            spent => Err(format!("{spent} hundredths of a second in half a second")),
        }
    })
    .await;
}
