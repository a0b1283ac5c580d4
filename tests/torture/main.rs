//! `kill -9` and SIGSTOP under load, on real processes: no acknowledged row is lost, none is doubled.
//!
//! Writers put unique rows into an append table, which would show a row twice
//! if replay doubled it. A round on a standalone ends by a kill at a random
//! time or, in a third of the rounds, by a fail point inside flush, manifest
//! commit or compaction (the binary then needs the feature `failpoints`). A
//! round on a cluster kills or pauses one role or several. SIGKILL keeps the
//! page cache, so a missing fsync is not found here but in the simulation.

mod cluster;
mod rows;
mod standalone;

use std::process::{Command, ExitCode};

use varve_rig::process::Folder;

/// Rounds of a plain `cargo test`; `make torture` runs 60, `make torture-cluster` 60 and 20 pauses.
const ROUNDS: u64 = 4;
const CLUSTER_ROUNDS: cluster::Rounds = cluster::Rounds { kills: 3, pauses: 0 };

#[allow(clippy::print_stdout, reason = "a program for people")]
fn main() -> ExitCode {
    let text = |name: &str| std::env::var(name).ok();
    let number = |name: &str| text(name).and_then(|text| text.parse().ok());
    // A cluster's S3 server is this program, too.
    if std::env::args().nth(1).as_deref() == Some("s3") {
        return varve_rig::program::main();
    }
    // `cargo test` also calls this binary to list its tests.
    if std::env::args().any(|arg| arg == "--list") {
        return ExitCode::SUCCESS;
    }
    let seed = number("VARVE_SEED").unwrap_or(1);
    let rounds = number("VARVE_ROUNDS").unwrap_or(ROUNDS);
    let cluster = cluster::Rounds {
        kills: number("VARVE_CLUSTER_KILLS").unwrap_or(CLUSTER_ROUNDS.kills),
        pauses: number("VARVE_CLUSTER_PAUSES").unwrap_or(CLUSTER_ROUNDS.pauses),
    };
    let on_standalone = || Folder::create("torture").and_then(|folder| standalone::run(folder.path(), rounds, seed));
    let s3 = text("VARVE_S3").filter(|addr| !addr.is_empty()).map(|addr| addr.parse().expect("an address and a port"));
    let on_cluster =
        || Folder::create("torture-cluster").and_then(|folder| cluster::run(folder.path(), s3, cluster, seed));
    let outcome = (if rounds == 0 { Ok(String::new()) } else { on_standalone() }).and_then(|first| {
        if cluster.kills + cluster.pauses == 0 {
            return Ok(first);
        }
        if Command::new("etcd").arg("--version").output().is_err() {
            let required = text("VARVE_REQUIRE").is_some_and(|names| names.split(',').any(|name| name == "etcd"));
            let skipped = format!("{first}\nskipped: etcd");
            return if required { Err("etcd is required and absent".to_owned()) } else { Ok(skipped) };
        }
        on_cluster().map(|second| format!("{first}\n{second}"))
    });
    let all = rounds + cluster.kills + cluster.pauses;
    match outcome {
        Ok(report) => {
            println!("{}", report.trim());
            println!("torture: {all} passed, 0 failed");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("torture: FAILED: {error}\nreplay: the same VARVE_SEED={seed} and numbers of rounds");
            ExitCode::FAILURE
        }
    }
}
