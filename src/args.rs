//! The command line. Names and defaults are kept stable: scripts of users rely on them.

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
    /// Print the settings in force, after file, environment and flags.
    Config(StandaloneArgs),
}

/// Flags of `varve standalone`; they win over file and environment.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct StandaloneArgs {
    /// Settings file (TOML); docs/config.md lists the keys.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where everything is kept [default: ./varve-data].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// HTTP: InfluxDB, SQL, metrics [default: 127.0.0.1:4000].
    #[arg(long, value_name = "HOST:PORT")]
    pub http_addr: Option<SocketAddr>,
    /// gRPC between roles [default: 127.0.0.1:4001].
    #[arg(long, value_name = "HOST:PORT")]
    pub grpc_addr: Option<SocketAddr>,
    /// MySQL wire; accepted, not served yet [default: 127.0.0.1:4002].
    #[arg(long, value_name = "HOST:PORT")]
    pub mysql_addr: Option<SocketAddr>,
    /// PostgreSQL wire [default: 127.0.0.1:4003].
    #[arg(long, value_name = "HOST:PORT")]
    pub postgres_addr: Option<SocketAddr>,
}

/// The flags that were given, in the shape of the settings.
#[derive(Debug, Serialize)]
pub struct Overrides {
    frontend: FrontendOverrides,
    datanode: DatanodeOverrides,
}

#[derive(Debug, Serialize)]
struct FrontendOverrides {
    #[serde(skip_serializing_if = "Option::is_none")]
    http_addr: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grpc_addr: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mysql_addr: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    postgres_addr: Option<SocketAddr>,
}

#[derive(Debug, Serialize)]
struct DatanodeOverrides {
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
}

impl StandaloneArgs {
    /// The flags that were given.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            frontend: FrontendOverrides {
                http_addr: self.http_addr,
                grpc_addr: self.grpc_addr,
                mysql_addr: self.mysql_addr,
                postgres_addr: self.postgres_addr,
            },
            datanode: DatanodeOverrides { data_dir: self.data_dir.clone() },
        }
    }
}
