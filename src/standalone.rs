//! Three roles in one process, over in-process adapters.
//!
//! Nothing below this file knows whether it runs alone. The tests also run the
//! same wiring over gRPC on loopback, so that both adapters stay equal.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use varve_datanode::{Datanode, DatanodeSetup, Storage};
use varve_frontend::{Addresses, Connect, Frontend, FrontendSetup, Host};
use varve_metasrv::Metasrv;
use varve_metasrv::kv::redb::RedbKv;
use varve_model::budget::Account;
use varve_model::id::NodeId;
use varve_model::{Error, Reason, Result, ResultExt};
use varve_proto::datanode::DatanodeApi;
use varve_proto::grpc::{DatanodeClient, MetasrvClient, Services};
use varve_proto::metasrv::MetasrvApi;
use varve_service::clock::{SharedClock, SystemClock};
use varve_service::net::bind;
use varve_service::net::status::Node;
use varve_service::task::{Blocking, TaskSet};
use varve_service::telemetry::metrics::Metrics;

use crate::config::Config;
use crate::memory::Memory;
use crate::role::serve_grpc;
use crate::version::{COMMIT, VERSION};

/// How the roles call each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adapter {
    /// As function calls.
    InProcess,
    /// Over gRPC on loopback.
    Grpc,
}

/// The only datanode's id.
const NODE: NodeId = NodeId(1);

/// A running standalone.
#[derive(Debug)]
pub struct Standalone {
    /// Where HTTP is served.
    pub http: SocketAddr,
    /// Where the roles' gRPC is served.
    pub grpc: SocketAddr,
    /// Where MySQL is served.
    pub mysql: SocketAddr,
    /// Where PostgreSQL is served.
    pub postgres: SocketAddr,
    datanode: Arc<Datanode>,
    ready: Arc<AtomicBool>,
    clients: TaskSet,
    roles: TaskSet,
}

impl Standalone {
    /// Starts on the data directory and returns when writes and queries are served.
    ///
    /// Errors: the directory is in use or damaged; an address is taken or not loopback.
    pub async fn start(config: Config, adapter: Adapter) -> Result<Self> {
        let clock: SharedClock = Arc::new(SystemClock);
        let (clients, roles) = (TaskSet::new(Blocking::Threads), TaskSet::new(Blocking::Threads));
        let memory = Memory::measure();
        let metrics = Metrics::default();
        let name = config.name_or(|| "standalone".to_owned());
        create_folder(&config.datanode.data_dir)?;
        let (grpc_listener, grpc) = bind("gRPC", config.frontend.grpc_addr).await?;

        let kv = RedbKv::open(&config.datanode.data_dir.join("meta.redb"), &roles).await.context(|| "open metadata")?;
        let metasrv = Metasrv::start(config.metasrv.clone(), Arc::new(kv), clock.clone(), roles.clone())
            .await
            .context(|| "start metasrv")?;
        let to_metasrv: Arc<dyn MetasrvApi> = match adapter {
            Adapter::InProcess => metasrv.clone(),
            Adapter::Grpc => Arc::new(MetasrvClient::new(&grpc.to_string(), &memory.queries)?),
        };
        // The datanode registers before it can serve, so metasrv's side of gRPC must be up by then.
        let services = Services::new(memory.of_grpc()).with_metasrv(metasrv);
        roles.spawn("gRPC", serve_grpc(services.clone(), grpc_listener, roles.token().clone()));
        let datanode = varve_datanode::start(DatanodeSetup {
            config: config.datanode.clone(),
            node: NODE,
            address: grpc.to_string(),
            metasrv: Arc::clone(&to_metasrv),
            connect: Arc::new(|node, _| Err(Error::internal(format!("standalone has no datanode {node}")))),
            storage: Storage::local(&config.datanode, &roles)?,
            clock: clock.clone(),
            tasks: roles.clone(),
            memory: memory.memtables.clone(),
            queries: memory.queries.clone(),
        })
        .await
        .context(|| "start datanode")?;
        services.set_datanode(Some(datanode.clone()));
        datanode.ready().await?;

        let connect = connect(adapter, &datanode, &memory.queries);
        let frontend = start_frontend(&config, to_metasrv, connect, &memory, &clock, &clients).await?;
        let ready = Arc::new(AtomicBool::new(true));
        let host = Host {
            node: Node { name, role: "standalone", version: VERSION, commit: COMMIT },
            metrics,
            ready: Arc::clone(&ready),
            clock,
            requests: memory.requests,
            tasks: clients.clone(),
        };
        let Addresses { http, mysql, postgres } = varve_frontend::listen(&config.frontend, frontend, host).await?;
        Ok(Self { http, grpc, mysql, postgres, datanode, ready, clients, roles })
    }

    /// Stops in order: listeners and requests, then the roles. What was acknowledged is in the log.
    pub async fn stop(self) {
        self.ready.store(false, Ordering::Relaxed);
        self.clients.stop().await;
        if let Err(error) = self.datanode.stop().await {
            tracing::error!(%error, "the datanode did not stop cleanly; its log is replayed at the next start");
        }
        self.roles.stop().await;
    }

    /// Says where to connect and how to write and read the first row.
    #[allow(clippy::print_stdout, reason = "the first thing a user sees")]
    pub fn print_welcome(&self) {
        let Self { http, grpc, mysql, postgres, .. } = self;
        println!(
            "varve {VERSION} is ready\n  \
             HTTP        http://{http}   (InfluxDB line protocol, SQL, /metrics, /health)\n  \
             PostgreSQL  {postgres}\n  \
             MySQL       {mysql}\n  \
             gRPC        {grpc}   (between roles)\n\n\
             Write a row:  curl -i 'http://{http}/write?db=public&precision=s' --data-binary 'cpu,host=a usage=0.64 1700000000'\n\
             Read it:      curl 'http://{http}/v1/sql' -d 'sql=SELECT * FROM cpu'\n\
             Or:           psql -h {} -p {} -d public -c 'SELECT * FROM cpu'\n\
             Or:           mysql -h {} -P {} -u root public -e 'SELECT * FROM cpu'\n",
            postgres.ip(),
            postgres.port(),
            mysql.ip(),
            mysql.port()
        );
    }
}

/// How the frontend reaches the datanode; over the network, charged to the account.
fn connect(adapter: Adapter, datanode: &Arc<Datanode>, account: &Account) -> Connect {
    match adapter {
        Adapter::InProcess => {
            let datanode: Arc<dyn DatanodeApi> = datanode.clone();
            Arc::new(move |_, _| Ok(Arc::clone(&datanode)))
        }
        Adapter::Grpc => {
            let account = account.clone();
            Arc::new(move |_, address| Ok(Arc::new(DatanodeClient::new(address, &account)?)))
        }
    }
}

async fn start_frontend(
    config: &Config,
    metasrv: Arc<dyn MetasrvApi>,
    connect: Connect,
    memory: &Memory,
    clock: &SharedClock,
    tasks: &TaskSet,
) -> Result<Arc<Frontend>> {
    let frontend = varve_frontend::start(FrontendSetup {
        metasrv,
        connect,
        clock: clock.clone(),
        tasks: tasks.clone(),
        memory: memory.queries.clone(),
        config: config.frontend.clone(),
    })?;
    frontend.ready().await;
    Ok(frontend)
}

fn create_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|error| {
        Error::invalid(format!("cannot create the data directory {}: {error}", path.display()))
            .with_reason(Reason::BadValue)
            .with_source(error)
    })
}
