//! A real etcd for one test: on free ports, in a temporary folder, ended with the test.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use varve_service::clock::SystemClock;

use crate::kv::{EtcdKv, KvStore, Revision};

/// A running member.
#[derive(Debug)]
pub(crate) struct Etcd {
    child: Child,
    folder: tempfile::TempDir,
    pub(crate) client: SocketAddr,
    peer: SocketAddr,
}

impl Etcd {
    /// `None`, after saying so, when there is no etcd; with `VARVE_REQUIRE=etcd` that is a failure.
    #[allow(clippy::print_stdout, reason = "skipped tests are counted by this line")]
    pub(crate) fn start() -> Option<Self> {
        if Command::new("etcd").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            let required = std::env::var("VARVE_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|name| name == "etcd"), "VARVE_REQUIRE asks for etcd, and there is none");
            println!("skipped: etcd");
            return None;
        }
        let folder = tempfile::tempdir().expect("temp folder");
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let [client, peer] = listeners.map(|listener| listener.local_addr().expect("address"));
        let child = spawn(&folder, client, peer);
        Some(Self { child, folder, client, peer })
    }

    /// A store of its own in it.
    pub(crate) fn kv(&self, prefix: &str) -> Arc<dyn KvStore> {
        Arc::new(EtcdKv::new(vec![self.client.to_string()], prefix, Arc::new(SystemClock)).expect("settings"))
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// On the same folder and ports.
    pub(crate) fn restart(&mut self) {
        self.child = spawn(&self.folder, self.client, self.peer);
    }

    /// Forgets what was before a revision.
    pub(crate) async fn compact(&self, revision: Revision) {
        let mut client = etcd_client::Client::connect([self.client.to_string()], None).await.expect("connect");
        client.compact(revision as i64, None).await.expect("compact");
    }
}

/// Returns when it serves: etcd says so on its standard error.
fn spawn(folder: &tempfile::TempDir, client: SocketAddr, peer: SocketAddr) -> Child {
    let [client, peer] = [client, peer].map(|address| format!("http://{address}"));
    let mut child = Command::new("etcd")
        .args(["--name", "test", "--log-level", "info", "--logger", "zap", "--log-outputs", "stderr", "--data-dir"])
        .arg(folder.path().join("data"))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("test={peer}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start etcd");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let served = lines.by_ref().map_while(Result::ok).any(|line| line.contains("serving") && line.contains("client"));
    assert!(served, "etcd ended before it served");
    // Whoever closes a pipe that etcd writes to kills it.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}
