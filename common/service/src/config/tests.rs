use super::*;
use serde::Deserialize;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    port: u16,
    name: String,
}

#[derive(Serialize)]
struct Flags {
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("temp file");
    std::fs::write(file.path(), text).expect("written");
    file
}

#[test]
fn a_flag_wins_over_the_file() {
    let file = file("port = 1\nname = 'a'\n");
    let settings: Settings = load(Some(file.path()), &Flags { port: Some(2) }).expect("valid");
    assert_eq!(settings, Settings { port: 2, name: "a".into() });
}

#[test]
fn unknown_keys_and_missing_files_are_refused() {
    let file = file("prot = 1\n");
    let error = load::<Settings>(Some(file.path()), &Flags { port: None }).expect_err("typo");
    assert!(error.message().contains("prot"), "{error}");
    load::<Settings>(Some(Path::new("/nonexistent.toml")), &Flags { port: None }).expect_err("missing");
}
