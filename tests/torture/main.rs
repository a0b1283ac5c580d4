//! `kill -9` under load, on real processes: no acknowledged row is lost, none is doubled.
//!
//! Writers put unique rows into an append table, which would show a row twice
//! if replay doubled it. A round ends by a kill at a random time or, in a third
//! of the rounds, by a fail point inside flush, manifest commit or compaction
//! (the binary then needs the feature `failpoints`). SIGKILL keeps the page
//! cache, so a missing fsync is not found here but in the simulation.

mod round;
mod rows;

use std::process::ExitCode;

use varve_rig::process::Folder;

/// Rounds of a plain `cargo test`; `make torture` runs 60.
const ROUNDS: u64 = 4;

#[allow(clippy::print_stdout, reason = "a program for people")]
fn main() -> ExitCode {
    let number = |name: &str, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    // `cargo test` also calls this binary to list its tests.
    if std::env::args().any(|arg| arg == "--list") {
        return ExitCode::SUCCESS;
    }
    let (rounds, seed) = (number("VARVE_ROUNDS", ROUNDS), number("VARVE_SEED", 1));
    let outcome = Folder::create("torture").and_then(|folder| round::run(folder.path(), rounds, seed));
    match outcome {
        Ok(report) => {
            println!("{report}");
            println!("torture: {rounds} passed, 0 failed");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("torture: FAILED: {error}\nreplay: VARVE_SEED={seed} VARVE_ROUNDS={rounds} make torture");
            ExitCode::FAILURE
        }
    }
}
