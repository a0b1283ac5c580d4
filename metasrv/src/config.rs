//! Settings of metasrv.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use varve_model::{Error, Reason, Result};

/// Section `metasrv` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Status listener of a member of its own. An operator changes it where the port is taken; 0 takes a free one.
    pub http_addr: SocketAddr,
    /// gRPC listener of a member of its own. As above.
    pub grpc_addr: SocketAddr,
    /// `host:port` of etcd's members. Every cluster sets it; standalone keeps its metadata in its data directory.
    pub etcd_endpoints: Vec<String>,
    /// Names below which this cluster's records are. Whoever shares an etcd between clusters sets it.
    pub etcd_prefix: String,
    /// How long a beat renews a datanode's lease. Whoever wants faster failover lowers it with
    /// `beat_ms`; whoever has long pauses (overcommitted machines) raises it.
    pub lease_ms: u64,
    /// How often datanodes beat: a third of the lease, so that two may be lost.
    pub beat_ms: u64,
    /// How long a member leads without etcd's word. Whoever wants a faster change of leaders lowers
    /// it, whoever has a slow etcd raises it. Whole seconds; etcd takes no less than 2 by default.
    pub leader_lease_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            http_addr: local(4020),
            grpc_addr: local(4021),
            etcd_endpoints: Vec::new(),
            etcd_prefix: "varve".to_owned(),
            lease_ms: 10_000,
            beat_ms: 3_000,
            leader_lease_ms: 5_000,
        }
    }
}

impl Config {
    /// The lease.
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    /// The time between beats.
    pub fn beat(&self) -> Duration {
        Duration::from_millis(self.beat_ms)
    }

    /// How long a member leads without etcd's word.
    pub fn leader_lease(&self) -> Duration {
        Duration::from_millis(self.leader_lease_ms)
    }

    /// Errors: `InvalidRequest` for a lease that cannot be kept.
    pub fn check(&self) -> Result<()> {
        if self.beat_ms == 0 || self.lease_ms < 2 * self.beat_ms {
            return Err(Error::invalid(format!(
                "metasrv.lease_ms ({}) must be at least twice metasrv.beat_ms ({}), which must not be 0",
                self.lease_ms, self.beat_ms
            ))
            .with_reason(Reason::BadValue));
        }
        if self.leader_lease_ms < 2_000 || !self.leader_lease_ms.is_multiple_of(1_000) {
            return Err(Error::invalid(format!(
                "metasrv.leader_lease_ms ({}) must be whole seconds, at least 2000",
                self.leader_lease_ms
            ))
            .with_reason(Reason::BadValue));
        }
        Ok(())
    }
}
