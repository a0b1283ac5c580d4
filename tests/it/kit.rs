//! A varve of its own for a test.

use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use varve::config::Config;
use varve::standalone::{Adapter, Standalone};

/// A running standalone on a temporary folder.
pub(crate) struct Varve {
    pub(crate) node: Standalone,
    pub(crate) door: Door,
    folder: TempDir,
}

/// Settings for a folder, every listener on a free port.
pub(crate) fn config(folder: &Path) -> Config {
    let mut config = Config::default();
    folder.clone_into(&mut config.datanode.data_dir);
    let free = "127.0.0.1:0".parse().expect("an address");
    config.frontend.http_addr = free;
    config.frontend.grpc_addr = free;
    config.frontend.mysql_addr = free;
    config.frontend.postgres_addr = free;
    config
}

impl Varve {
    pub(crate) async fn start() -> Self {
        Self::start_with(Adapter::InProcess).await
    }

    pub(crate) async fn start_with(adapter: Adapter) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let node = Standalone::start(config(folder.path()), adapter).await.expect("starts on an empty folder");
        Self { door: Door::new(node.http, node.mysql, node.postgres), node, folder }
    }

    /// Stops cleanly and starts again on the same folder.
    pub(crate) async fn restart(self) -> Self {
        self.node.stop().await;
        let node = Standalone::start(config(self.folder.path()), Adapter::InProcess).await.expect("starts again");
        Self { door: Door::new(node.http, node.mysql, node.postgres), node, folder: self.folder }
    }

    /// Stops cleanly and hands out the folder.
    pub(crate) async fn stop(self) -> TempDir {
        self.node.stop().await;
        self.folder
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Deref for Varve {
    type Target = Door;

    fn deref(&self) -> &Door {
        &self.door
    }
}

/// Where clients reach a server, whoever runs it.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) addr: SocketAddr,
    pub(crate) mysql: SocketAddr,
    pub(crate) postgres: SocketAddr,
    pub(crate) http: reqwest::Client,
}

impl Door {
    pub(crate) fn new(addr: SocketAddr, mysql: SocketAddr, postgres: SocketAddr) -> Self {
        Self { addr, mysql, postgres, http: reqwest::Client::new() }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Writes line protocol; status and body.
    pub(crate) async fn write(&self, path: &str, body: impl Into<reqwest::Body>) -> (u16, String) {
        let reply = self.http.post(self.url(path)).body(body).send().await.expect("a reply");
        (reply.status().as_u16(), reply.text().await.expect("a body"))
    }

    /// Runs SQL in `public`; status and the JSON reply.
    pub(crate) async fn sql(&self, statement: &str) -> (u16, Value) {
        self.sql_in("public", statement).await
    }

    pub(crate) async fn sql_in(&self, database: &str, statement: &str) -> (u16, Value) {
        let reply = self.request(database, statement).send().await.expect("a reply");
        let status = reply.status().as_u16();
        let text = reply.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    /// The request that runs SQL.
    pub(crate) fn request(&self, database: &str, statement: &str) -> reqwest::RequestBuilder {
        let form = format!("db={}&sql={}", percent(database), percent(statement));
        let request = self.http.post(self.url("/v1/sql")).header("content-type", "application/x-www-form-urlencoded");
        request.body(form)
    }

    /// The rows of one statement that must succeed.
    pub(crate) async fn rows(&self, statement: &str) -> Vec<Value> {
        let (status, reply) = self.sql(statement).await;
        assert_eq!(status, 200, "{statement}: {reply}");
        reply["output"][0]["records"]["rows"].as_array().cloned().unwrap_or_default()
    }

    /// Drops all tables of `public`.
    pub(crate) async fn clear(&self) {
        for row in self.rows("SHOW TABLES").await {
            self.run(&format!("DROP TABLE \"{}\"", row[0].as_str().unwrap_or_default())).await;
        }
    }

    /// Runs one statement that must succeed.
    pub(crate) async fn run(&self, statement: &str) {
        let (status, reply) = self.sql(statement).await;
        assert_eq!(status, 200, "{statement}: {reply}");
    }
}

/// Percent-encodes for a form.
pub(crate) fn percent(text: &str) -> String {
    use std::fmt::Write as _;
    let mut form = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            form.push(byte as char);
        } else {
            let _ = write!(form, "%{byte:02X}");
        }
    }
    form
}

/// All files below a folder, sorted.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() { folders.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    found.sort();
    found
}

/// Whether a tool is there; when it is not, says so, or fails if `VARVE_REQUIRE` names it.
pub(crate) fn have(tool: &str, present: bool) -> bool {
    if !present {
        let required = std::env::var("VARVE_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|name| name == tool), "{tool} is required and absent");
        eprintln!("skipped: {tool}");
    }
    present
}
