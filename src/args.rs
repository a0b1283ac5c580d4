//! The command line. Names and defaults are kept stable: scripts of users rely on them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use serde::Serialize;

/// A time-series database on object storage.
#[derive(Debug, Parser)]
#[command(name = "varve", version = crate::version::LONG)]
pub struct Args {
    /// What to run.
    #[command(subcommand)]
    pub command: Command,
}

/// A role, or several in one process.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// All roles in one process, on a local directory.
    Standalone(StandaloneArgs),
    /// A member of metasrv: catalog, routes and leases, on etcd.
    Metasrv(MetasrvArgs),
    /// A datanode: log, files and the reads beside them, on a bucket.
    Datanode(DatanodeArgs),
    /// A frontend: the clients' wires.
    Frontend(FrontendArgs),
    /// Print the settings in force, after file, environment and flags.
    Config(StandaloneArgs),
}

/// Flags of `varve standalone`; they win over file and environment.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct StandaloneArgs {
    /// Settings file (TOML); docs/config.md lists the keys.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What this process is called in `/status` and logs [default: standalone].
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Where everything is kept [default: ./varve-data].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where clients connect.
    #[command(flatten)]
    pub clients: ClientAddrs,
    /// gRPC between roles [default: 127.0.0.1:4001].
    #[arg(long, value_name = "HOST:PORT")]
    pub grpc_addr: Option<SocketAddr>,
}

/// Where clients connect, on standalone and on a frontend.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ClientAddrs {
    /// HTTP: InfluxDB, SQL, metrics [default: 127.0.0.1:4000].
    #[arg(long, value_name = "HOST:PORT")]
    pub http_addr: Option<SocketAddr>,
    /// MySQL wire [default: 127.0.0.1:4002].
    #[arg(long, value_name = "HOST:PORT")]
    pub mysql_addr: Option<SocketAddr>,
    /// PostgreSQL wire [default: 127.0.0.1:4003].
    #[arg(long, value_name = "HOST:PORT")]
    pub postgres_addr: Option<SocketAddr>,
}

/// Flags of `varve metasrv`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct MetasrvArgs {
    /// Settings file (TOML); docs/config.md lists the keys.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What this process is called in `/status` and logs [default: metasrv- and the gRPC address].
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// HTTP: health, status, metrics [default: 127.0.0.1:4020].
    #[arg(long, value_name = "HOST:PORT")]
    pub http_addr: Option<SocketAddr>,
    /// gRPC between roles [default: 127.0.0.1:4021].
    #[arg(long, value_name = "HOST:PORT")]
    pub grpc_addr: Option<SocketAddr>,
}

/// Flags of `varve datanode`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DatanodeArgs {
    /// Settings file (TOML); docs/config.md lists the keys.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What this process is called in `/status` and logs [default: datanode- and the node id].
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Where its own files are kept [default: ./varve-data].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// HTTP: health, status, metrics [default: 127.0.0.1:4010].
    #[arg(long, value_name = "HOST:PORT")]
    pub http_addr: Option<SocketAddr>,
    /// gRPC between roles [default: 127.0.0.1:4011].
    #[arg(long, value_name = "HOST:PORT")]
    pub grpc_addr: Option<SocketAddr>,
}

/// Flags of `varve frontend`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct FrontendArgs {
    /// Settings file (TOML); docs/config.md lists the keys.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What this process is called in `/status` and logs [default: frontend- and the HTTP address].
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Where clients connect.
    #[command(flatten)]
    pub clients: ClientAddrs,
}

/// The flags that were given, in the shape of the settings: section, key, value.
#[derive(Debug, Default, Serialize)]
pub struct Overrides(BTreeMap<&'static str, BTreeMap<&'static str, String>>);

impl Overrides {
    fn set(mut self, section: &'static str, key: &'static str, value: Option<impl ToString>) -> Self {
        if let Some(value) = value {
            self.0.entry(section).or_default().insert(key, value.to_string());
        }
        self
    }
}

fn text(path: Option<&PathBuf>) -> Option<String> {
    path.map(|path| path.to_string_lossy().into_owned())
}

impl ClientAddrs {
    fn overrides(&self) -> Overrides {
        Overrides::default()
            .set("frontend", "http_addr", self.http_addr)
            .set("frontend", "mysql_addr", self.mysql_addr)
            .set("frontend", "postgres_addr", self.postgres_addr)
    }
}

impl StandaloneArgs {
    /// The flags that were given.
    pub fn overrides(&self) -> Overrides {
        self.clients
            .overrides()
            .set("node", "name", self.name.as_ref())
            .set("frontend", "grpc_addr", self.grpc_addr)
            .set("datanode", "data_dir", text(self.data_dir.as_ref()))
    }
}

impl MetasrvArgs {
    /// The flags that were given.
    pub fn overrides(&self) -> Overrides {
        Overrides::default().set("node", "name", self.name.as_ref()).set("metasrv", "http_addr", self.http_addr).set(
            "metasrv",
            "grpc_addr",
            self.grpc_addr,
        )
    }
}

impl DatanodeArgs {
    /// The flags that were given.
    pub fn overrides(&self) -> Overrides {
        Overrides::default()
            .set("node", "name", self.name.as_ref())
            .set("datanode", "http_addr", self.http_addr)
            .set("datanode", "grpc_addr", self.grpc_addr)
            .set("datanode", "data_dir", text(self.data_dir.as_ref()))
    }
}

impl FrontendArgs {
    /// The flags that were given.
    pub fn overrides(&self) -> Overrides {
        self.clients.overrides().set("node", "name", self.name.as_ref())
    }
}
