//! Settings of metasrv.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use varve_model::{Error, Reason, Result};

/// Section `metasrv` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long a beat renews a datanode's lease. Whoever wants faster failover lowers it with
    /// `beat_ms`; whoever has long pauses (overcommitted machines) raises it.
    pub lease_ms: u64,
    /// How often datanodes beat: a third of the lease, so that two may be lost.
    pub beat_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { lease_ms: 10_000, beat_ms: 3_000 }
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

    /// Errors: `InvalidRequest` for a lease that cannot be kept.
    pub fn check(&self) -> Result<()> {
        if self.beat_ms == 0 || self.lease_ms < 2 * self.beat_ms {
            return Err(Error::invalid(format!(
                "metasrv.lease_ms ({}) must be at least twice metasrv.beat_ms ({}), which must not be 0",
                self.lease_ms, self.beat_ms
            ))
            .with_reason(Reason::BadValue));
        }
        Ok(())
    }
}
