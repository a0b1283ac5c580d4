//! The house rules as a program: prints what is out of order and fails.
//!
//! Dependency-free, so that it runs in seconds on any tree, even one that does not build.

mod calls;
mod fixtures;
mod layers;
mod rules;
mod stats;
#[cfg(test)]
mod tests;
mod toml;
mod tree;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn complaints(top: &Path, freeze: bool) -> Vec<String> {
    let sources = tree::sources(top);
    let mut complaints = Vec::new();
    layers::check(top, &sources, &mut complaints);
    calls::check(top, &sources, &mut complaints);
    rules::check(top, &sources, &mut complaints);
    fixtures::check(top, freeze, &mut complaints);
    complaints
}

#[allow(clippy::print_stdout, reason = "a program for people")]
fn main() -> ExitCode {
    let mode = std::env::args().nth(1);
    if mode.as_deref() == Some("stats") {
        println!("{}", stats::report(&tree::sources(&top())));
        return ExitCode::SUCCESS;
    }
    let complaints = complaints(&top(), mode.as_deref() == Some("freeze"));
    for complaint in &complaints {
        println!("{complaint}");
    }
    println!("tidy: {} complaints", complaints.len());
    if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
