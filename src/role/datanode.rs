//! `varve datanode`: sessions one after another, on a bucket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use varve_datanode::{Datanode, DatanodeSetup, Storage};
use varve_model::id::NodeId;
use varve_model::{Error, ErrorKind, Result};
use varve_proto::grpc::{DatanodeClient, Services};
use varve_proto::metasrv::MetasrvApi;
use varve_service::clock::{SharedClock, SystemClock};
use varve_service::net::bind;
use varve_service::net::status::{Check, Node, StatusPage};
use varve_service::shutdown::Signals;
use varve_service::task::{Blocking, TaskSet};
use varve_service::telemetry::metrics::Metrics;

use super::{RETRY_PAUSE, metasrv_members, say, serve_grpc, unless_stopped};
use crate::config::Config;
use crate::memory::Memory;
use crate::version::{COMMIT, VERSION};

/// Runs a datanode until the signal.
///
/// Errors: bad settings; an address is taken; a bucket that must not be used; damage; another cluster.
pub async fn run(config: Config, mut signals: Signals) -> Result<()> {
    let tasks = TaskSet::new(Blocking::Threads);
    let (http_listener, http) = bind("HTTP", config.datanode.http_addr).await?;
    let (grpc_listener, grpc) = bind("gRPC", config.datanode.grpc_addr).await?;
    let clock: SharedClock = Arc::new(SystemClock);
    let memory = Memory::measure();
    let addrs = &config.datanode.metasrv_addrs;
    let metasrv = metasrv_members("datanode.metasrv_addrs", addrs, &memory.queries, &clock)?;
    let ready = Arc::<AtomicBool>::default();
    // Before the bucket answers, so that `/status` and `/health` do.
    status_page(&config, &ready, &clock).serve(http_listener, &tasks);
    let opening = {
        let (config, clock, tasks) = (config.datanode.clone(), Arc::clone(&clock), tasks.clone());
        async move { Storage::open(&config, &clock, &tasks).await }
    };
    let Some(storage) = unless_stopped(&tasks, &mut signals, opening).await? else { return Ok(()) };
    let services = Services::new(memory.of_grpc());
    let stop = tasks.token().clone();
    tasks.spawn("gRPC", serve_grpc(services.clone(), grpc_listener, stop));
    say(&format!("varve {VERSION} datanode: gRPC {grpc}, status http://{http}/status"));
    let current = Mutex::default();
    let process = Arc::new(Process { config, grpc, metasrv, storage, clock, tasks, memory, services, ready, current });
    loop {
        // A task of its own, so that no step of a session's begin that takes long keeps the signal waiting.
        let mut session = process.tasks.spawn("session", Arc::clone(&process).session());
        let ended = tokio::select! {
            ended = &mut session => ended,
            signal = signals.stop() => {
                tracing::info!(signal, "stopping");
                session.abort();
                // Whatever it came to: from here on nobody begins one.
                let _ = session.await;
                process.stop().await;
                return Ok(());
            }
        };
        let ended = ended.map_err(|error| Error::internal("the session panicked").with_source(error))?;
        if let Some(why) = ended? {
            tracing::warn!(why, "the session is over; beginning another");
        }
    }
}

fn status_page(config: &Config, ready: &Arc<AtomicBool>, clock: &SharedClock) -> StatusPage {
    let name = config.name_or(|| format!("datanode-{}", config.datanode.node_id));
    let ready = Arc::clone(ready);
    StatusPage {
        node: Node { name, role: "datanode", version: VERSION, commit: COMMIT },
        metrics: Metrics::default(),
        ready: Check::new(move || ready.load(Ordering::Relaxed)),
        leader: None,
        clock: Arc::clone(clock),
    }
}

/// What outlives a session.
struct Process {
    config: Config,
    grpc: SocketAddr,
    metasrv: Arc<dyn MetasrvApi>,
    storage: Storage,
    clock: SharedClock,
    tasks: TaskSet,
    memory: Memory,
    services: Services,
    ready: Arc<AtomicBool>,
    current: Mutex<Option<Session>>,
}

/// A session that runs.
struct Session {
    datanode: Arc<Datanode>,
    tasks: TaskSet,
}

impl Process {
    /// One session from its beginning until others end it; returns why, or nothing when it could not begin yet.
    /// Dropped at a stop. Errors: what no second try can mend.
    async fn session(self: Arc<Self>) -> Result<Option<String>> {
        let tasks = self.tasks.child();
        let asked = self.memory.queries.clone();
        let setup = DatanodeSetup {
            config: self.config.datanode.clone(),
            node: NodeId(self.config.datanode.node_id),
            address: self.grpc.to_string(),
            metasrv: Arc::clone(&self.metasrv),
            connect: Arc::new(move |_, address| Ok(Arc::new(DatanodeClient::new(address, &asked)?))),
            storage: self.storage.clone(),
            clock: self.clock.clone(),
            tasks: tasks.clone(),
            memory: self.memory.memtables.clone(),
            queries: self.memory.queries.clone(),
        };
        let datanode = match varve_datanode::start(setup).await {
            Ok(datanode) => datanode,
            Err(error) if may_succeed_later(&error) => {
                tracing::warn!(%error, "a session cannot begin; trying again");
                tasks.kill();
                self.clock.sleep(RETRY_PAUSE).await;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        *self.current.lock() = Some(Session { datanode: Arc::clone(&datanode), tasks });
        self.services.set_datanode(Some(datanode.clone()));
        let ended = datanode.ended();
        tokio::pin!(ended);
        let why = tokio::select! {
            why = &mut ended => why,
            serves = datanode.ready() => {
                self.ready.store(serves.is_ok(), Ordering::Relaxed);
                ended.await
            }
        };
        self.ready.store(false, Ordering::Relaxed);
        self.services.set_datanode(None);
        if let Some(session) = self.current.lock().take() {
            session.tasks.kill();
        }
        Ok(Some(why))
    }

    /// Gives the regions back, so that nobody has to wait for the lease, and ends.
    async fn stop(&self) {
        self.ready.store(false, Ordering::Relaxed);
        let session = self.current.lock().take();
        if let Some(Session { datanode, tasks }) = session {
            if let Err(error) = datanode.stop().await {
                tracing::error!(%error, "the datanode did not stop cleanly; its log is replayed by the next owners");
            }
            tasks.stop().await;
        }
        self.tasks.stop().await;
    }
}

/// Whether beginning a session may succeed when it is tried again.
fn may_succeed_later(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Busy | ErrorKind::Timeout | ErrorKind::Fenced)
}
