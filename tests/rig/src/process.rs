//! A `varve standalone` on a data directory and ports of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::http::Client;

/// A folder of its own below the temporary one; removed on drop.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Creates it. Errors: the disk.
    pub fn create(name: &str) -> Result<Self, String> {
        let folder = std::env::temp_dir().join(format!("varve-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        Ok(Self(folder))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The binary that `VARVE_BINARY` names (a release build, or one with fail points), else this one.
pub fn binary(of_this_build: &str) -> PathBuf {
    std::env::var_os("VARVE_BINARY").map_or_else(|| PathBuf::from(of_this_build), PathBuf::from)
}

/// User and system CPU time of a process so far (`/proc/pid/stat`, 100 ticks per second on Linux); zero when it is gone.
pub fn cpu_of(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let ticks: u64 = stat
        .rsplit(')')
        .next()
        .into_iter()
        .flat_map(|rest| rest.split_whitespace().skip(11).take(2))
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

/// The process; killed on drop.
#[derive(Debug)]
pub struct Server {
    child: Child,
    folder: PathBuf,
    /// Where HTTP is served.
    pub http: SocketAddr,
}

impl Server {
    /// Starts on a data directory, with variables added to the environment; returns when it serves.
    pub fn start(binary: &Path, folder: &Path, env: &[(&str, &str)]) -> Result<Self, String> {
        let mut child = Command::new(binary)
            .args(["standalone", "--http-addr", "127.0.0.1:0", "--grpc-addr", "127.0.0.1:0"])
            .args(["--mysql-addr", "127.0.0.1:0", "--postgres-addr", "127.0.0.1:0", "--data-dir"])
            .arg(folder)
            .envs(env.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|error| format!("start varve: {error}"))?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let mut lines = BufReader::new(stdout).lines();
        let http = loop {
            let line = lines.next().ok_or("varve ended before it listened")?.map_err(|error| error.to_string())?;
            if let Some(addr) = line.split("http://").nth(1) {
                let addr: String = addr.chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':')).collect();
                break addr.parse().map_err(|error| format!("address '{addr}': {error}"))?;
            }
        };
        // The banner's rest is read, so that the pipe never fills.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, folder: folder.to_owned(), http })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`. Whether the process had ended by itself before.
    pub fn kill(&mut self) -> bool {
        let ended = self.has_ended();
        let _ = self.child.kill();
        let _ = self.child.wait();
        ended
    }

    /// Whether the process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// A new connection. Errors: nobody listens.
    pub fn client(&self) -> Result<Client, String> {
        Client::connect(self.http)
    }

    /// User and system CPU time so far.
    pub fn cpu(&self) -> Duration {
        cpu_of(self.child.id())
    }

    /// Peak resident memory in MiB.
    pub fn rss_peak_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        kib.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
    }

    /// Bytes of data files and sidecars below the bucket folder.
    pub fn data_bytes(&self) -> u64 {
        fn walk(folder: &Path) -> u64 {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries
                .map(|entry| {
                    let path = entry.path();
                    let in_data = path.parent().and_then(Path::file_name).is_some_and(|name| name == "d");
                    if path.is_dir() {
                        walk(&path)
                    } else if in_data {
                        entry.metadata().map_or(0, |metadata| metadata.len())
                    } else {
                        0
                    }
                })
                .sum()
        }
        walk(&self.folder)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
