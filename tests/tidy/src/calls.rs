//! The graph of calls between roles: who makes whose client.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::toml::{Tables, Value, parse};
use crate::tree::Source;

/// Where roles are put together, and with them their clients.
const ROLES: &str = "src/role/";
/// Files outside that name a client: its definition, what all roles share, and the one process of all roles.
const OTHERS: [&str; 3] = ["proto/src/", "src/role.rs", "src/standalone.rs"];

/// Checks that the sources make the clients that `[calls]` of layers.toml says, and that it has no cycle.
pub(crate) fn check(top: &Path, sources: &[Source], complaints: &mut Vec<String>) {
    let text = fs::read_to_string(top.join("tests/tidy/layers.toml")).unwrap_or_default();
    // Text that cannot be read is complained of with the layers.
    let Ok(rules) = parse(&text) else { return };
    let allowed = calls(&rules);
    let mut found = BTreeMap::<&str, BTreeSet<&str>>::new();
    for source in sources.iter().filter(|source| !source.is_test()) {
        let made = clients(&source.text, &rules);
        let role = source.path.strip_prefix(ROLES).and_then(|file| file.strip_suffix(".rs"));
        match role {
            Some(role) => found.entry(role).or_default().extend(made),
            None if made.is_empty() || OTHERS.iter().any(|other| source.path.starts_with(other)) => {}
            None => complaints.push(format!("{}: makes a client; only {ROLES} does", source.path)),
        }
    }
    for role in allowed.keys().chain(found.keys()).copied().collect::<BTreeSet<_>>() {
        let (said, is) = (allowed.get(role), found.get(role));
        if said != is && !(said.is_none_or(BTreeSet::is_empty) && is.is_none_or(BTreeSet::is_empty)) {
            complaints.push(format!("{role} calls {is:?}, layers.toml says {said:?}"));
        }
    }
    if let Some(role) = on_a_cycle(&allowed) {
        complaints.push(format!("layers.toml: the calls of {role} come back to it"));
    }
}

fn calls(rules: &Tables) -> BTreeMap<&str, BTreeSet<&str>> {
    let lists = rules.get("calls").into_iter().flatten();
    lists
        .filter_map(|(role, called)| match called {
            Value::List(called) => Some((role.as_str(), called.iter().map(String::as_str).collect())),
            Value::Text(_) => None,
        })
        .collect()
}

/// The roles whose clients this text makes.
fn clients<'a>(text: &str, rules: &'a Tables) -> BTreeSet<&'a str> {
    let lines = || text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let makers = rules.get("clients").into_iter().flatten();
    makers
        .filter_map(|(maker, role)| match role {
            Value::Text(role) => lines().any(|line| line.contains(maker.as_str())).then_some(role.as_str()),
            Value::List(_) => None,
        })
        .collect()
}

/// A role that is called, at last, by one that it calls. A role may call its own kind.
fn on_a_cycle<'a>(calls: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Option<&'a str> {
    calls.keys().copied().find(|start| {
        let mut reached = BTreeSet::new();
        let mut next = vec![*start];
        while let Some(role) = next.pop() {
            let others = calls.get(role).into_iter().flatten().filter(|called| **called != role);
            next.extend(others.copied().filter(|called| reached.insert(*called)));
        }
        reached.contains(start)
    })
}
