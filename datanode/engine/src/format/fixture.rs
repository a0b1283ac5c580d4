//! Bytes of every format as files in tests/compat/v1: what was written once must stay readable.

use std::path::PathBuf;

/// Compares bytes with the fixture `tests/compat/v1/<format>/<name>.bin`.
///
/// `UPDATE_FIXTURES=1` writes a fixture that is missing; it never changes one.
pub(crate) fn check(format: &str, name: &str, bytes: &[u8]) {
    let path = path(format, name);
    if !path.exists() && std::env::var_os("UPDATE_FIXTURES").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }
    assert_eq!(load(format, name), bytes, "fixture {}", path.display());
}

/// The bytes of a fixture.
pub(crate) fn load(format: &str, name: &str) -> Vec<u8> {
    let path = path(format, name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("fixture {}: {error}", path.display()))
}

fn path(format: &str, name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/compat/v1").join(format).join(format!("{name}.bin"))
}
