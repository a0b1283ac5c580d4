//! Settings of a frontend.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Settings of a frontend; what is not here is a constant with its reason in `limits.rs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FrontendConfig {
    /// HTTP listener. An operator changes it where the port is taken; 0 takes a free one.
    pub http_addr: SocketAddr,
    /// gRPC listener of the roles. As above.
    pub grpc_addr: SocketAddr,
    /// MySQL listener. As above.
    pub mysql_addr: SocketAddr,
    /// PostgreSQL listener. As above.
    pub postgres_addr: SocketAddr,
    /// `host:port` of metasrv's members. Every cluster sets it; in standalone metasrv is in the process.
    pub metasrv_addrs: Vec<String>,
    /// Where rows of several datanodes meet: joins, groups and windows over parts of all of them. An operator
    /// changes it where datanodes do not reach each other.
    pub exchange: ExchangeMode,
    /// Parallel parts of a query here. An operator lowers it to leave cores to other processes. 0: one per core.
    pub query_partitions: usize,
    /// Bytes that queries may hold here. An operator fits it to the memory of the machine.
    pub query_memory_bytes: u64,
}

/// Where rows of several datanodes meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExchangeMode {
    /// On the datanodes, each of which takes the share that a hash gives it.
    #[default]
    Shuffle,
    /// On the frontend.
    Frontend,
}

impl Default for FrontendConfig {
    fn default() -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            http_addr: local(4000),
            grpc_addr: local(4001),
            mysql_addr: local(4002),
            postgres_addr: local(4003),
            metasrv_addrs: Vec::new(),
            exchange: ExchangeMode::default(),
            query_partitions: 0,
            query_memory_bytes: 512 << 20,
        }
    }
}
