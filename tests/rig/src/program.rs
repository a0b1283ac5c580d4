//! The program: what `make cluster-up`, `cluster-start` and `cluster-down` run.
//!
//! It is in the library because a test binary that starts a cluster is the
//! program of that cluster's S3 server, too.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cluster::{self, Size};
use crate::s3::{Objects, Server};

#[derive(Parser)]
#[command(name = "varve-rig")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a whole cluster and wait until it serves.
    Up {
        /// Where it lives.
        #[arg(long)]
        dir: PathBuf,
        /// The `varve` binary.
        #[arg(long)]
        varve: PathBuf,
        #[arg(long, default_value_t = 3)]
        datanodes: u32,
        #[arg(long, default_value_t = 2)]
        frontends: u32,
        #[arg(long, default_value_t = 3)]
        metasrvs: u32,
        /// An S3 server that runs already, with the rig's bucket and keys, instead of one of its own.
        #[arg(long)]
        s3: Option<SocketAddr>,
    },
    /// Start one node that was stopped or killed, and wait until it and its regions are served.
    Start {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        varve: PathBuf,
        /// Its name in cluster.json.
        #[arg(long)]
        node: String,
    },
    /// Stop all that was started.
    Down {
        #[arg(long)]
        dir: PathBuf,
    },
    /// Serve S3 from a folder until killed.
    S3 {
        #[arg(long)]
        folder: PathBuf,
        #[arg(long)]
        addr: SocketAddr,
    },
}

fn serve_s3(folder: &std::path::Path, addr: SocketAddr) -> Result<(), String> {
    let objects = Objects::in_folder(folder).map_err(|error| format!("folder {}: {error}", folder.display()))?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let _server = Server::start(addr, objects).await.map_err(|error| format!("listen on {addr}: {error}"))?;
        std::future::pending::<()>().await;
        Ok(())
    })
}

/// Runs the command of this process.
pub fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Up { dir, varve, datanodes, frontends, metasrvs, s3 } => {
            cluster::up(&dir, &varve, Size { datanodes, frontends, metasrvs }, s3)
        }
        Command::Start { dir, varve, node } => {
            cluster::start(&dir, &varve, &node).and_then(|()| cluster::wait_served(&dir))
        }
        Command::Down { dir } => cluster::down(&dir),
        Command::S3 { folder, addr } => serve_s3(&folder, addr),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("varve-rig: {error}");
            ExitCode::FAILURE
        }
    }
}
