//! When a region is flushed. Pure: loads in, regions out.

use std::time::Duration;

use varve_model::id::RegionId;

#[cfg(test)]
mod tests;

/// What one region holds in memory and log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionLoad {
    /// The region.
    pub region: RegionId,
    /// Bytes in memory.
    pub bytes: u64,
    /// How long its oldest unflushed row has waited; `None` without one.
    pub age: Option<Duration>,
}

/// What the node holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeLoad {
    /// Bytes of the log.
    pub wal_bytes: u64,
    /// Bytes charged to the memtable account.
    pub memory_bytes: u64,
    /// Limit of that account.
    pub memory_bytes_max: u64,
}

/// When to flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushPolicy {
    /// Log size above which its oldest region is flushed: bounds the time of a restart.
    pub wal_bytes_max: u64,
    /// Bytes in memory above which a region is flushed, whatever the others hold.
    pub region_bytes_max: u64,
    /// Age above which a region is flushed.
    pub age_max: Duration,
    /// Share of the memtable account above which its largest region is flushed, in percent.
    pub memory_percent_max: u64,
}

impl Default for FlushPolicy {
    fn default() -> Self {
        Self {
            wal_bytes_max: 512 << 20,
            region_bytes_max: 512 << 20,
            age_max: Duration::from_mins(10),
            memory_percent_max: 75,
        }
    }
}

/// Regions to flush now. `oldest_in_log` names regions with unflushed blocks, those in the oldest segment first.
pub fn pick(policy: &FlushPolicy, node: NodeLoad, regions: &[RegionLoad], oldest_in_log: &[RegionId]) -> Vec<RegionId> {
    let holding = |load: &&RegionLoad| load.age.is_some();
    let mut picked = regions
        .iter()
        .filter(|load| load.age.is_some_and(|age| age >= policy.age_max || load.bytes >= policy.region_bytes_max))
        .map(|load| load.region)
        .collect::<Vec<_>>();
    if node.wal_bytes >= policy.wal_bytes_max {
        picked.extend(oldest_in_log.iter().find(|region| regions.iter().any(|load| load.region == **region)));
    }
    if node.memory_bytes * 100 >= node.memory_bytes_max.saturating_mul(policy.memory_percent_max) {
        picked.extend(
            regions.iter().filter(holding).max_by_key(|load| (load.bytes, load.region)).map(|load| load.region),
        );
    }
    picked.sort_unstable();
    picked.dedup();
    picked
}
