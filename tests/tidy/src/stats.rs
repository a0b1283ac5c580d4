//! `make stats`: the numbers a reviewer asks for.

use std::collections::BTreeMap;

use crate::layers::PACKAGES;
use crate::tree::Source;

/// Lines per package, sizes of files.
pub(crate) fn report(sources: &[Source]) -> String {
    let mut lines: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut sizes = Vec::new();
    for source in sources {
        let package = PACKAGES
            .iter()
            .filter(|(_, folder)| *folder != "." && source.path.starts_with(&format!("{folder}/")))
            .max_by_key(|(_, folder)| folder.len())
            .map_or(if source.path.starts_with("src/") { "varve" } else { "tests" }, |(package, _)| *package);
        let entry = lines.entry(package).or_default();
        if source.is_test() {
            entry.1 += source.code_lines();
        } else {
            entry.0 += source.code_lines();
            sizes.push((source.code_lines(), source.path.as_str()));
        }
    }
    sizes.sort_unstable();
    let at = |percent: usize| sizes.get(sizes.len() * percent / 100).map_or(0, |size| size.0);
    let mut text = "package            code   tests\n".to_owned();
    for (package, (code, tests)) in &lines {
        text.push_str(&format!("{package:<16} {code:>6}  {tests:>6}\n"));
    }
    let total = lines.values().fold((0, 0), |sum, line| (sum.0 + line.0, sum.1 + line.1));
    text.push_str(&format!("{:<16} {:>6}  {:>6}\n", "total", total.0, total.1));
    text.push_str(&format!("files: {}, code lines p50 {}, p90 {}\n", sizes.len(), at(50), at(90)));
    for (size, path) in sizes.iter().rev().take(5) {
        text.push_str(&format!("  {size:>4} {path}\n"));
    }
    text
}
