//! How much memory this process may use, and how it is shared out.

use varve_model::budget::Account;
use varve_proto::grpc::Accounts;

/// Memory of the container, else of the machine, in bytes.
fn available() -> u64 {
    let cgroup = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let cgroup = cgroup.and_then(|text| text.trim().parse::<u64>().ok());
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let machine = meminfo.lines().find_map(|line| {
        let kib = line.strip_prefix("MemTotal:")?.trim().trim_end_matches(" kB").parse::<u64>().ok()?;
        Some(kib * 1024)
    });
    // Neither is readable only outside Linux; 1 GiB keeps varve small and working there.
    cgroup.into_iter().chain(machine).min().unwrap_or(1 << 30)
}

/// The accounts of a process. Memtables and queries take 40 % each, requests 10 %; the rest is slack.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    /// Memtables and what waits for the WAL.
    pub(crate) memtables: Account,
    /// Queries: scans, rows on their way to datanodes, and what this process asks others.
    pub(crate) queries: Account,
    /// Bodies and messages of requests in flight, from clients and from other roles.
    pub(crate) requests: Account,
}

impl Memory {
    /// Accounts for the memory there is.
    pub(crate) fn measure() -> Self {
        let root = Account::root("process", available() / 10 * 9);
        let share = |percent: u64| root.bytes_max() / 100 * percent;
        Self {
            memtables: root.child("memtables", share(40)),
            queries: root.child("queries", share(40)),
            requests: root.child("requests", share(10)),
        }
    }

    /// What gRPC is charged to.
    pub(crate) fn of_grpc(&self) -> Accounts {
        Accounts { requests: self.requests.clone(), queries: self.queries.clone() }
    }
}
