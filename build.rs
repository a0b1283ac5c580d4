//! Puts the commit into the binary, for `varve --version` and `/status`.

use std::path::Path;
use std::process::Command;

/// What git answers in one line; `None` without git, or outside a repository.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // A path that does not exist would have everything built again each time: in a worktree, without a branch,
    // with packed references or from a tarball they lie elsewhere or nowhere.
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    let watched = ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref());
    for path in watched.filter_map(|name| git(&["rev-parse", "--git-path", name])) {
        if Path::new(&path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"]);
    println!("cargo:rustc-env=VARVE_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}
