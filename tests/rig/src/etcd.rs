//! One etcd member on free loopback ports.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::http::Client;
use crate::ports;

/// How long the start may take.
const START_MAX: Duration = Duration::from_secs(30);

/// A running member; killed on drop.
#[derive(Debug)]
pub struct Etcd {
    child: Child,
    /// Where clients connect.
    pub client: SocketAddr,
}

/// The command line of a member on this folder.
pub(crate) fn command(folder: &Path, client: SocketAddr, peer: SocketAddr) -> Command {
    let mut command = Command::new("etcd");
    command
        .args(["--name", "rig", "--log-level", "warn"])
        .arg("--data-dir")
        .arg(folder)
        .args([
            "--listen-client-urls",
            &format!("http://{client}"),
            "--advertise-client-urls",
            &format!("http://{client}"),
        ])
        .args([
            "--listen-peer-urls",
            &format!("http://{peer}"),
            "--initial-advertise-peer-urls",
            &format!("http://{peer}"),
        ])
        .args(["--initial-cluster", &format!("rig=http://{peer}")]);
    command
}

/// Whether a member answers there.
pub(crate) fn is_ready(client: SocketAddr) -> bool {
    let health = Client::connect(client).and_then(|mut client| client.get("/health"));
    matches!(health, Ok((200, body)) if body.contains("true"))
}

impl Etcd {
    /// Starts a member on this folder and waits until it serves. Errors: there is no `etcd`, or it does not start.
    #[allow(clippy::disallowed_methods, reason = "real processes live in real time")]
    pub fn start(folder: &Path) -> Result<Self, String> {
        let [client, peer] = ports::free()?;
        let mut command = command(folder, client, peer);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut etcd = Self { child: child.map_err(|error| format!("start etcd: {error}"))?, client };
        let start = Instant::now();
        while !is_ready(client) {
            if start.elapsed() > START_MAX || matches!(etcd.child.try_wait(), Ok(Some(_))) {
                return Err("etcd does not start".to_owned());
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        Ok(etcd)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}
