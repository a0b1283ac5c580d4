//! `varve frontend`: the clients' wires, without state of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use varve_frontend::{Addresses, FrontendSetup, Host};
use varve_model::Result;
use varve_proto::grpc::DatanodeClient;
use varve_service::clock::{SharedClock, SystemClock};
use varve_service::net::status::Node;
use varve_service::shutdown::Signals;
use varve_service::task::{Blocking, TaskSet};
use varve_service::telemetry::metrics::Metrics;

use super::{metasrv_members, say};
use crate::config::Config;
use crate::memory::Memory;
use crate::version::{COMMIT, VERSION};

/// Runs a frontend until the signal. Errors: bad settings; an address is taken.
pub async fn run(config: Config, mut signals: Signals) -> Result<()> {
    let clock: SharedClock = Arc::new(SystemClock);
    let tasks = TaskSet::new(Blocking::Threads);
    let memory = Memory::measure();
    let asked = memory.queries.clone();
    let frontend = varve_frontend::start(FrontendSetup {
        metasrv: metasrv_members("frontend.metasrv_addrs", &config.frontend.metasrv_addrs, &asked, &clock)?,
        connect: Arc::new(move |_, address| Ok(Arc::new(DatanodeClient::new(address, &asked)?))),
        clock: clock.clone(),
        tasks: tasks.clone(),
        memory: memory.queries.clone(),
        config: config.frontend.clone(),
    })?;
    let ready = Arc::new(AtomicBool::new(false));
    let host = Host {
        node: Node {
            name: config.name_or(|| format!("frontend-{}", config.frontend.http_addr)),
            role: "frontend",
            version: VERSION,
            commit: COMMIT,
        },
        metrics: Metrics::default(),
        ready: Arc::clone(&ready),
        clock,
        requests: memory.requests,
        tasks: tasks.clone(),
    };
    let Addresses { http, mysql, postgres } = varve_frontend::listen(&config.frontend, frontend.clone(), host).await?;
    say(&format!("varve {VERSION} frontend: HTTP http://{http}  MySQL {mysql}  PostgreSQL {postgres}"));
    let signal = loop {
        tokio::select! {
            // Before the catalog is known, nothing is served.
            () = frontend.ready(), if !ready.load(Ordering::Relaxed) => ready.store(true, Ordering::Relaxed),
            signal = signals.stop() => break signal,
        }
    };
    tracing::info!(signal, "stopping");
    ready.store(false, Ordering::Relaxed);
    tasks.stop().await;
    Ok(())
}
