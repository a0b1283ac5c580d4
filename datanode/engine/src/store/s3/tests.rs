//! Servers that others wrote, when they are installed: one that a cluster may use, one that it must not.
//!
//! `go install github.com/versity/versitygw/cmd/versitygw@v1.8.0` (state in extended attributes, so the temporary
//! folder must have them), `cargo install --locked s3s-fs@0.14.1 --features binary`.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path as FilePath;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, future};
use object_store::ObjectStoreExt;
use object_store::aws::AwsCredential;
use object_store::path::Path;
use tempfile::TempDir;
use varve_service::clock::{SharedClock, SystemClock};
use varve_service::task::{Blocking, TaskSet};

use super::*;
use crate::store::create::{Created, ReadBack, create_verified};
use crate::store::credential::{Credentials, Found};
use crate::store::probe::{Capabilities, probe};

const KEY: &str = "conformance-key";
const SECRET: &str = "conformance-secret";
const BUCKET: &str = "conformance";
/// Processes of a cluster that go for the same slot.
const WRITERS: usize = 16;
/// Slots they go for.
const SLOTS: usize = 40;

/// A server that runs on a folder of its own, and a client of it.
struct Rival {
    child: Child,
    _folder: TempDir,
    store: Arc<dyn ObjectStore>,
    clock: SharedClock,
    tasks: TaskSet,
}

impl Drop for Rival {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Rival {
    /// `None` when the program is not there: then it says so, or fails if `VARVE_REQUIRE` names it.
    async fn start(program: &str, arguments: impl Fn(SocketAddr, &FilePath) -> Vec<String>) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new(program);
        command.args(arguments(addr, folder.path())).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(child) = command.spawn() else {
            let required = std::env::var("VARVE_REQUIRE").unwrap_or_default();
            assert!(
                !required.split(',').any(|name| name == program),
                "VARVE_REQUIRE asks for {program}, which is absent"
            );
            eprintln!("skipped: {program}");
            return None;
        };
        let (clock, tasks): (SharedClock, _) = (Arc::new(SystemClock), TaskSet::new(Blocking::Threads));
        let source = || {
            let credential = AwsCredential { key_id: KEY.to_owned(), secret_key: SECRET.to_owned(), token: None };
            future::ready(Ok(Found { credential: Arc::new(credential), expires_nanos: None })).boxed()
        };
        let credentials = Credentials::start(Box::new(source), &clock, &tasks);
        let config = S3Config {
            endpoint: format!("http://{addr}"),
            bucket: BUCKET.to_owned(),
            prefix: "cluster/a".to_owned(),
            ..S3Config::default()
        };
        let store = open_s3(&config, Some(&credentials), true).unwrap();
        let mut rival = Self { child, _folder: folder, store, clock, tasks };
        while TcpStream::connect(addr).is_err() {
            assert!(rival.child.try_wait().unwrap().is_none(), "{program} ended");
            rival.clock.sleep(Duration::from_millis(20)).await;
        }
        Some(rival)
    }

    /// Everybody creates the same slot; how many were told that it is theirs, and whether its bytes are the winner's.
    async fn race(&self, slot: usize) -> (usize, bool) {
        let path = Path::from(format!("slot/{slot}"));
        let bodies =
            (0..WRITERS).map(|writer| Bytes::from(format!("slot {slot} of writer {writer}"))).collect::<Vec<_>>();
        let writes = bodies.iter().map(|body| {
            let (store, clock, path, body) =
                (Arc::clone(&self.store), Arc::clone(&self.clock), path.clone(), body.clone());
            self.tasks
                .spawn("writer", async move { create_verified(&*store, &clock, &path, &body, ReadBack::OnDoubt).await })
        });
        let created = future::join_all(writes).await.into_iter().map(|created| created.unwrap().unwrap());
        let winners = (0..).zip(created).filter(|(_, created)| *created == Created::Created).map(|(writer, _)| writer);
        let winners = winners.collect::<Vec<usize>>();
        let held = self.store.get(&path).await.unwrap().bytes().await.unwrap();
        (winners.len(), winners.iter().all(|writer| bodies[*writer] == held))
    }
}

fn text(parts: &[&str]) -> Vec<String> {
    parts.iter().map(|part| (*part).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn versitygw_passes_the_probe_and_every_race_has_one_winner() {
    let rival = Rival::start("versitygw", |addr, folder| {
        let (addr, folder) = (addr.to_string(), folder.to_str().unwrap());
        text(&["--access", KEY, "--secret", SECRET, "--port", &addr, "posix", folder])
    });
    let Some(rival) = rival.await else { return };
    assert_eq!(probe(&*rival.store, &rival.clock).await.unwrap(), Capabilities { bulk_delete: true });
    for slot in 0..SLOTS {
        assert_eq!(rival.race(slot).await, (1, true), "slot {slot}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s3s_fs_is_refused_since_its_creates_are_not_atomic() {
    let rival = Rival::start("s3s-fs", |addr, folder| {
        let (host, port, folder) = (addr.ip().to_string(), addr.port().to_string(), folder.to_str().unwrap());
        text(&["--access-key", KEY, "--secret-key", SECRET, "--host", &host, "--port", &port, folder])
    });
    let Some(rival) = rival.await else { return };
    let error = probe(&*rival.store, &rival.clock).await.unwrap_err();
    assert!(error.message().contains("racing create"), "{error}");
}
