//! `varve metasrv`: one member, on etcd.

use std::sync::Arc;

use varve_metasrv::kv::etcd::EtcdKv;
use varve_metasrv::{Member, MemberSetup};
use varve_model::Result;
use varve_proto::grpc::Services;
use varve_service::clock::{SharedClock, SystemClock};
use varve_service::net::bind;
use varve_service::net::status::{Check, Node, StatusPage};
use varve_service::shutdown::Signals;
use varve_service::task::{Blocking, TaskSet};
use varve_service::telemetry::metrics::Metrics;

use super::{say, serve_grpc};
use crate::config::Config;
use crate::memory::Memory;
use crate::version::{COMMIT, VERSION};

/// Runs a member until the signal. Errors: bad settings; an address is taken.
pub async fn run(config: Config, mut signals: Signals) -> Result<()> {
    let clock: SharedClock = Arc::new(SystemClock);
    let tasks = TaskSet::new(Blocking::Threads);
    let (http_listener, http) = bind("HTTP", config.metasrv.http_addr).await?;
    let (grpc_listener, grpc) = bind("gRPC", config.metasrv.grpc_addr).await?;
    let name = config.name_or(|| format!("metasrv-{grpc}"));
    let config = config.metasrv;
    let kv = EtcdKv::new(config.etcd_endpoints.clone(), &config.etcd_prefix, clock.clone())?;
    let member = Member::start(MemberSetup {
        config,
        name: name.clone(),
        address: grpc.to_string(),
        kv: Arc::new(kv),
        clock: clock.clone(),
        tasks: tasks.clone(),
    })?;
    let services = Services::new(Memory::measure().of_grpc()).with_metasrv(member.clone());
    tasks.spawn("gRPC", serve_grpc(services, grpc_listener, tasks.token().clone()));
    let (knows, leads) = (Arc::clone(&member), member);
    let page = StatusPage {
        node: Node { name, role: "metasrv", version: VERSION, commit: COMMIT },
        metrics: Metrics::default(),
        ready: Check::new(move || knows.is_leader() || knows.leader().is_some()),
        leader: Some(Check::new(move || leads.is_leader())),
        clock,
    };
    page.serve(http_listener, &tasks);
    say(&format!("varve {VERSION} metasrv: gRPC {grpc}, status http://{http}/status"));
    let signal = signals.stop().await;
    tracing::info!(signal, "stopping");
    tasks.stop().await;
    Ok(())
}
