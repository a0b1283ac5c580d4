//! Persisted bytes of old versions never change: a list of their hashes is kept beside them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::toml::{Value, parse};
use crate::tree::{entries, relative};

/// FNV-1a, 64 bits: no adversary here, only accidents.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn collect(top: &Path, folder: &Path, found: &mut BTreeMap<String, String>) {
    for path in entries(folder) {
        if path.is_dir() {
            collect(top, &path, found);
        } else if path.file_name().is_none_or(|name| name != "frozen.toml") {
            let bytes = fs::read(&path).unwrap_or_default();
            found.insert(relative(&top.join("tests/compat"), &path), format!("{:016x}", hash(&bytes)));
        }
    }
}

/// Compares the fixtures with the list; with `freeze`, appends the new ones first.
pub(crate) fn check(top: &Path, freeze: bool, complaints: &mut Vec<String>) {
    let folder = top.join("tests/compat");
    let list = folder.join("frozen.toml");
    let mut found = BTreeMap::new();
    collect(top, &folder, &mut found);
    let text = fs::read_to_string(&list).unwrap_or_default();
    let mut frozen = match parse(&text) {
        Ok(mut tables) => tables.remove("fixtures").unwrap_or_default(),
        Err(error) => return complaints.push(format!("frozen.toml: {error}")),
    };
    if freeze {
        for (path, hash) in &found {
            frozen.entry(path.clone()).or_insert_with(|| Value::Text(hash.clone()));
        }
        let mut text =
            "# Hashes (FNV-1a 64) of persisted bytes. Lines are added by `make freeze`, never changed.\n\n[fixtures]\n"
                .to_owned();
        for (path, hash) in &frozen {
            if let Value::Text(hash) = hash {
                text.push_str(&format!("\"{path}\" = \"{hash}\"\n"));
            }
        }
        if let Err(error) = fs::write(&list, text) {
            complaints.push(format!("frozen.toml: {error}"));
        }
    }
    for (path, hash) in &found {
        match frozen.get(path) {
            None => complaints.push(format!("tests/compat/{path}: not frozen; run `make freeze`")),
            Some(Value::Text(old)) if old == hash => {}
            Some(_) => complaints.push(format!("tests/compat/{path}: changed; add a fixture, never change one")),
        }
    }
    for path in frozen.keys().filter(|path| !found.contains_key(*path)) {
        complaints.push(format!("tests/compat/{path}: removed; old bytes must stay readable"));
    }
}
