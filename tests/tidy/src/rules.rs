//! Sizes, bans, heads of files, READMEs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::layers::PACKAGES;
use crate::toml::{Value, parse};
use crate::tree::{Source, entries, relative};

/// Code lines a file may have.
const LINES_MAX: usize = 600;
/// Nouns a folder may have; a door and its folder count once.
const NOUNS_MAX: usize = 12;
/// The same for a package's `src`.
const ROOT_NOUNS_MAX: usize = 16;

/// Checks all of them.
pub(crate) fn check(top: &Path, sources: &[Source], complaints: &mut Vec<String>) {
    sizes(top, sources, complaints);
    folders(top, sources, complaints);
    bans(sources, complaints);
    documents(top, complaints);
    profiles(top, complaints);
}

fn sizes(top: &Path, sources: &[Source], complaints: &mut Vec<String>) {
    let text = fs::read_to_string(top.join("tests/tidy/exceptions.toml")).unwrap_or_default();
    let exceptions = parse(&text).ok().and_then(|mut tables| tables.remove("lines")).unwrap_or_default();
    for source in sources.iter().filter(|source| !source.is_test()) {
        let lines = source.code_lines();
        let allowed = match exceptions.get(&source.path) {
            Some(Value::Text(allowed)) => allowed.parse().unwrap_or(LINES_MAX),
            _ => LINES_MAX,
        };
        if lines > allowed {
            complaints.push(format!("{}: {lines} code lines, {allowed} allowed: split it by noun", source.path));
        }
    }
    for path in exceptions.keys() {
        let lines = sources.iter().find(|source| source.path == *path).map_or(0, Source::code_lines);
        if lines <= LINES_MAX {
            complaints.push(format!("exceptions.toml: {path} needs no exception any more"));
        }
    }
}

fn folders(top: &Path, sources: &[Source], complaints: &mut Vec<String>) {
    let mut nouns: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        let Some((folder, file)) = source.path.rsplit_once('/') else { continue };
        nouns.entry(folder).or_default().push(file);
    }
    for (folder, files) in nouns {
        let max = if folder.ends_with("src") { ROOT_NOUNS_MAX } else { NOUNS_MAX };
        let doors = files.iter().filter(|file| !matches!(**file, "lib.rs" | "main.rs")).count();
        if doors > max {
            complaints.push(format!("{folder}: {doors} nouns, {max} allowed"));
        }
        if files.contains(&"mod.rs") {
            complaints.push(format!("{folder}/mod.rs: use {folder}.rs beside its folder"));
        }
    }
    let _ = top;
}

/// Texts that code may not hold, with the reason. Split, so that this list does not find itself.
const BANS: [(&str, &str); 7] = [
    (concat!("#[ign", "ore"), "a test that does not run proves nothing"),
    (concat!("mod tes", "ts {"), "tests live in foo/tests.rs, so that touching them rebuilds no library"),
    (concat!("tod", "o!("), "finish it, or return a clear error and list it in docs/gaps.md"),
    (concat!("unimple", "mented!("), "finish it, or return a clear error and list it in docs/gaps.md"),
    (concat!("thread::sl", "eep("), "wait on a condition"),
    (concat!("unbounded_", "channel("), "every queue has a bound"),
    (concat!("/wo", "rk/"), "no machine paths"),
];

fn bans(sources: &[Source], complaints: &mut Vec<String>) {
    for source in sources {
        for (number, line) in source.text.lines().enumerate() {
            for (ban, reason) in BANS {
                if line.contains(ban) {
                    complaints.push(format!("{}:{}: '{ban}': {reason}", source.path, number + 1));
                }
            }
        }
        let head = source.text.trim_start();
        let is_test = source.is_test();
        if !is_test && !head.starts_with("//!") && !head.starts_with("#![doc") {
            complaints.push(format!("{}: opens without '//!': say what it is, then why it is so", source.path));
        }
    }
}

fn documents(top: &Path, complaints: &mut Vec<String>) {
    let mut limits: Vec<(String, usize)> = PACKAGES
        .iter()
        .filter(|(package, _)| !matches!(*package, "varve" | "varve-tidy"))
        .map(|(_, folder)| (format!("{folder}/README.md"), 80))
        .collect();
    limits.push(("ARCHITECTURE.md".to_owned(), 300));
    for (path, lines_max) in limits {
        match fs::read_to_string(top.join(&path)) {
            Err(_) => complaints.push(format!("{path} is missing")),
            Ok(text) if text.lines().count() > lines_max => {
                complaints.push(format!("{path}: over {lines_max} lines"));
            }
            Ok(_) => {}
        }
    }
    for path in entries(&top.join("docs/adr")) {
        let text = fs::read_to_string(&path).unwrap_or_default();
        for heading in ["## Context", "## Decision", "## Rejected", "## Consequences"] {
            if !text.contains(heading) {
                complaints.push(format!("{}: no '{heading}'", relative(top, &path)));
            }
        }
    }
}

fn profiles(top: &Path, complaints: &mut Vec<String>) {
    let manifest = fs::read_to_string(top.join("Cargo.toml")).unwrap_or_default();
    for line in manifest.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let line = line.replace(' ', "");
        if line.starts_with("panic=") && line.contains("abort") {
            complaints.push("Cargo.toml: a profile aborts on panic: unwinding must stay".to_owned());
        }
        if line.contains("git=") {
            complaints.push(format!("Cargo.toml: git dependency: {line}"));
        }
    }
}
