//! Package edges, in-package order and the walls around heavy crates.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::toml::{Tables, Value, parse};
use crate::tree::{Source, relative};

/// The packages: name and folder from the top.
pub(crate) const PACKAGES: [(&str, &str); 12] = [
    ("varve-model", "common/model"),
    ("varve-service", "common/service"),
    ("varve-query", "common/query"),
    ("varve-proto", "proto"),
    ("varve-protocol", "frontend/protocol"),
    ("varve-frontend", "frontend"),
    ("varve-engine", "datanode/engine"),
    ("varve-datanode", "datanode"),
    ("varve-metasrv", "metasrv"),
    ("varve", "."),
    ("varve-rig", "tests/rig"),
    ("varve-tidy", "tests/tidy"),
];

/// Checks all three.
pub(crate) fn check(top: &Path, sources: &[Source], complaints: &mut Vec<String>) {
    let path = top.join("tests/tidy/layers.toml");
    let text = fs::read_to_string(&path).unwrap_or_default();
    let rules = match parse(&text) {
        Ok(rules) => rules,
        Err(error) => return complaints.push(format!("{}: {error}", relative(top, &path))),
    };
    for (package, folder) in PACKAGES {
        edges(top, package, folder, &rules, complaints);
        order(package, folder, sources, &rules, complaints);
    }
}

fn list<'a>(rules: &'a Tables, table: &str, key: &str) -> Option<&'a [String]> {
    match rules.get(table)?.get(key)? {
        Value::List(items) => Some(items),
        Value::Text(_) => None,
    }
}

/// Names under `[dependencies]` and `[build-dependencies]` of a manifest.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[dependencies]" || line == "[build-dependencies]";
        } else if inside && let Some(end) = line.find(['.', '=', ' ']) {
            names.push(line[..end].to_owned());
        }
    }
    names
}

fn edges(top: &Path, package: &str, folder: &str, rules: &Tables, complaints: &mut Vec<String>) {
    let manifest = fs::read_to_string(top.join(folder).join("Cargo.toml")).unwrap_or_default();
    let found = dependencies(&manifest);
    let Some(allowed) = list(rules, "edges", package) else {
        return complaints.push(format!("layers.toml: no edges for {package}"));
    };
    for name in found.iter().filter(|name| name.starts_with("varve-")) {
        if !allowed.contains(name) {
            complaints.push(format!("{package} imports {name}: not an edge of layers.toml"));
        }
    }
    for (name, wall) in rules.get("wrappers").into_iter().flatten() {
        let Value::List(wall) = wall else { continue };
        if found.contains(name) && !wall.iter().any(|inside| inside == package) {
            complaints.push(format!("{package} names {name}: only {} may", wall.join(", ")));
        }
    }
}

/// Rank of each room: rooms of one bracket share a rank.
fn ranks(order: &str) -> BTreeMap<&str, usize> {
    let mut ranks = BTreeMap::new();
    for (rank, group) in order.split('>').enumerate() {
        for room in group.trim().trim_matches(['[', ']']).split(',') {
            ranks.insert(room.trim(), rank);
        }
    }
    ranks
}

fn order(package: &str, folder: &str, sources: &[Source], rules: &Tables, complaints: &mut Vec<String>) {
    let Some(Value::Text(order)) = rules.get("order").and_then(|orders| orders.get(package)) else { return };
    let ranks = ranks(order);
    let prefix = if folder == "." { "src/".to_owned() } else { format!("{folder}/src/") };
    for source in sources.iter().filter(|source| source.path.starts_with(&prefix) && !source.is_test()) {
        let inside = &source.path[prefix.len()..];
        let room = inside.split(['/', '.']).next().unwrap_or_default();
        if matches!(room, "lib" | "main") {
            continue;
        }
        let Some(&rank) = ranks.get(room) else {
            complaints.push(format!("{}: room '{room}' is not in the order of {package}", source.path));
            continue;
        };
        for used in used_rooms(&source.text) {
            if used != room && ranks.get(used).is_some_and(|&other| other <= rank) {
                complaints.push(format!("{}: '{room}' uses '{used}', which stands above or beside it", source.path));
            }
        }
    }
}

/// Rooms named as `crate::room` in code, without duplicates.
fn used_rooms(text: &str) -> Vec<&str> {
    let mut rooms: Vec<&str> = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for part in line.split("crate::").skip(1) {
            let end = part.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(part.len());
            if !rooms.contains(&&part[..end]) {
                rooms.push(&part[..end]);
            }
        }
    }
    rooms
}
