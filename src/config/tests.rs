use super::*;
use crate::args::{ClientAddrs, StandaloneArgs};

#[test]
fn the_page_of_settings_names_every_key_with_its_default() {
    let page = include_str!("../../docs/config.md");
    let text = toml::to_string(&Config::default()).expect("settings are TOML");
    let mut section = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if let Some((key, value)) = line.split_once(" = ") {
            let value = value.trim_matches('"');
            let row = format!("| `{section}.{key}` | `{value}`");
            assert!(page.contains(&row), "docs/config.md has no row that begins with {row}");
        }
    }
}

#[test]
fn a_flag_wins_and_an_unknown_key_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("varve.toml");
    std::fs::write(&file, "[datanode]\nwal_bytes_max = 7\n[frontend]\nhttp_addr = \"127.0.0.1:1\"\n").expect("written");
    let args = StandaloneArgs {
        config: Some(file.clone()),
        clients: ClientAddrs { http_addr: Some("127.0.0.1:2".parse().expect("an address")), ..ClientAddrs::default() },
        ..StandaloneArgs::default()
    };
    let config = Config::load(args.config.as_deref(), &args.overrides()).expect("valid");
    assert_eq!((config.datanode.wal_bytes_max, config.frontend.http_addr.port()), (7, 2));
    std::fs::write(&file, "[datanode]\nwal_byte_max = 7\n").expect("written");
    let error = Config::load(args.config.as_deref(), &args.overrides()).expect_err("a typo");
    assert!(error.message().contains("wal_byte_max"), "{error}");
}

/// The error of a file's text.
fn refused(text: &str) -> varve_model::Error {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    Config::load(Some(file.path()), &Overrides::default()).expect_err(text)
}

#[test]
fn a_filter_of_the_log_that_cannot_be_read_is_refused_at_start() {
    let error = refused("[log]\nfilter = \"info,varve=loud\"\n");
    assert!(error.message().contains("log.filter 'info,varve=loud'") && error.hint().is_some(), "{error}");
}

#[test]
fn a_node_has_the_name_it_is_given() {
    let flags = StandaloneArgs { name: Some("varve-0".to_owned()), ..StandaloneArgs::default() };
    let config = Config::load(None, &flags.overrides()).expect("valid");
    assert_eq!(config.name_or(|| "unnamed".to_owned()), "varve-0");
    assert_eq!(Config::default().name_or(|| "unnamed".to_owned()), "unnamed");
    for name in [String::new(), "a b".to_owned(), "a\\n".to_owned(), "x".repeat(254)] {
        let error = refused(&format!("[node]\nname = \"{name}\"\n"));
        assert!(error.message().starts_with("node.name"), "{error}");
    }
}
