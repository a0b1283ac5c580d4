//! Settings of a datanode.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use varve_engine::EngineOptions;
use varve_engine::store::s3::S3Config;
use varve_engine::wal::local::Damage;

/// Settings of a datanode; what is not here is a constant with its reason in `limits.rs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatanodeConfig {
    /// Where log, files and metadata are kept. Everybody who installs varve sets it.
    pub data_dir: PathBuf,
    /// Status listener of a datanode of its own. An operator changes it where the port is taken; 0 takes a free one.
    pub http_addr: SocketAddr,
    /// gRPC listener of a datanode of its own; others reach it there. As above.
    pub grpc_addr: SocketAddr,
    /// `host:port` of metasrv's members. Every cluster sets it; in standalone metasrv is in the process.
    pub metasrv_addrs: Vec<String>,
    /// The bucket of a cluster. In standalone it is a folder of the data directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Config>,
    /// Where the log of a cluster's datanode is: in the `bucket`, which others can take over, or on a `local` disk
    /// that is waited for.
    pub log: LogPlace,
    /// How long, in milliseconds, the log in the bucket waits for more rows. Lower: faster answers; higher: fewer
    /// requests to pay for.
    pub linger_ms: u64,
    /// Number of this datanode in its cluster. Every datanode has its own.
    pub node_id: u64,
    /// Log size above which memtables are flushed. Lower: faster restarts; higher: fewer, larger files.
    pub wal_bytes_max: u64,
    /// Bytes in a region's memory above which it is flushed. Mostly for tests, which want many small files.
    pub flush_bytes: u64,
    /// How often, in milliseconds, merging files is looked at. Mostly for tests.
    pub compact_every_ms: u64,
    /// What to do with damage in the middle of the log: `refuse` to start, or `skip` what is lost.
    pub wal_recovery: WalRecovery,
    /// Parallel parts of a fragment. An operator lowers it to leave cores to other processes. 0: one per core.
    pub query_partitions: usize,
}

/// Where the log of a cluster's datanode is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogPlace {
    /// Beside the files: who takes over a region reads it there.
    #[default]
    Bucket,
    /// In the data directory: its regions wait for the disk.
    Local,
}

/// What to do with damage in the middle of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WalRecovery {
    /// Do not start.
    #[default]
    Refuse,
    /// Lose the rows in it, with an audit event.
    Skip,
}

impl Default for DatanodeConfig {
    fn default() -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            data_dir: PathBuf::from("varve-data"),
            http_addr: local(4010),
            grpc_addr: local(4011),
            metasrv_addrs: Vec::new(),
            s3: None,
            log: LogPlace::Bucket,
            linger_ms: 200,
            node_id: 0,
            wal_bytes_max: 512 << 20,
            flush_bytes: 512 << 20,
            compact_every_ms: 30_000,
            wal_recovery: WalRecovery::Refuse,
            query_partitions: 0,
        }
    }
}

impl DatanodeConfig {
    /// The engine's options.
    pub(crate) fn engine(&self) -> EngineOptions {
        let mut options = EngineOptions::default();
        options.flush.wal_bytes_max = self.wal_bytes_max;
        options.flush.region_bytes_max = self.flush_bytes;
        options.compact_every = Duration::from_millis(self.compact_every_ms.max(1));
        options.tick = options.tick.min(options.compact_every);
        options.object.linger = Duration::from_millis(self.linger_ms);
        options.wal.damage = match self.wal_recovery {
            WalRecovery::Refuse => Damage::Refuse,
            WalRecovery::Skip => Damage::Skip,
        };
        options
    }
}
