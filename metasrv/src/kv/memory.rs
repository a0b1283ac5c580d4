//! Metadata in memory: for tests and the simulation. What it holds outlives a metasrv that is killed.
//!
//! It also does what an etcd does on bad days, when told to: leases end,
//! watches break, history is compacted, an old backup is restored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;
use varve_model::Result;
use varve_service::clock::SharedClock;
use varve_service::task::TaskSet;

use super::space::Space;
use super::{Entry, KvStore, LeaseId, Op, Range, Revision, Txn, TxnReply, WatchStream};

/// A store that forgets everything with its process.
#[derive(Debug, Default)]
pub struct MemoryKv {
    state: Mutex<State>,
    /// Leases end by it; without one they last until they are ended.
    clock: Option<SharedClock>,
    /// A lease was granted or renewed.
    leased: Notify,
}

#[derive(Debug, Default)]
struct State {
    space: Space,
    leases: BTreeMap<LeaseId, Lease>,
    last_lease: LeaseId,
}

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    ends: Duration,
    keys: BTreeSet<String>,
}

/// What a store held at one time.
#[derive(Clone, Debug)]
pub struct Backup {
    entries: Vec<Entry>,
    revision: Revision,
    /// Keys that were under a lease.
    leased: Vec<String>,
}

impl State {
    fn txn(&mut self, txn: Txn) -> Result<TxnReply> {
        let leased = txn.ops.iter().map(|op| match op {
            Op::PutLeased(key, _, lease) => (key.clone(), Some(*lease)),
            op => (op.key().to_owned(), None),
        });
        let leased = leased.collect::<Vec<_>>();
        if let Some(ended) = leased.iter().find_map(|(_, lease)| lease.filter(|id| !self.leases.contains_key(id))) {
            return Err(varve_model::Error::not_found(format!("lease {ended} has ended")));
        }
        let plan = self.space.plan(txn)?;
        let succeeded = plan.is_some();
        if let Some(plan) = plan {
            self.space.apply(plan);
            for (key, lease) in leased {
                for held in self.leases.values_mut() {
                    held.keys.remove(&key);
                }
                if let Some(lease) = lease.and_then(|id| self.leases.get_mut(&id)) {
                    lease.keys.insert(key);
                }
            }
        }
        Ok(TxnReply { succeeded, revision: self.space.revision() })
    }

    fn leased(&self) -> Vec<String> {
        self.leases.values().flat_map(|lease| lease.keys.iter().cloned()).collect()
    }

    fn end(&mut self, lease: LeaseId) -> Result<()> {
        let Some(lease) = self.leases.remove(&lease) else { return Ok(()) };
        let ops = lease.keys.into_iter().map(Op::Delete).collect();
        self.txn(Txn { compares: vec![], ops }).map(drop)
    }
}

impl MemoryKv {
    /// An empty store without time: leases last until they are ended.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store whose leases end by the clock, for as long as `tasks` run.
    pub fn timed(clock: SharedClock, tasks: &TaskSet) -> Arc<Self> {
        let kv = Arc::new(Self { clock: Some(Arc::clone(&clock)), ..Self::default() });
        let store = Arc::clone(&kv);
        tasks.spawn("leases", async move {
            loop {
                let next = store.state.lock().leases.values().map(|lease| lease.ends).min();
                let wait = next.map_or(Duration::MAX, |ends| ends.saturating_sub(clock.boot()));
                // A day is "until something changes": a longer sleep would overflow.
                let wait = wait.min(Duration::from_hours(24));
                tokio::select! {
                    () = clock.sleep(wait) => {}
                    () = store.leased.notified() => continue,
                }
                let now = clock.boot();
                store.end_leases(|lease| lease.ends <= now);
            }
        });
        kv
    }

    fn end_leases(&self, which: impl Fn(&Lease) -> bool) {
        let mut state = self.state.lock();
        let ended = state.leases.iter().filter(|(_, lease)| which(lease)).map(|(id, _)| *id).collect::<Vec<_>>();
        for lease in ended {
            // Deleting the keys of a lease is a valid transaction: a lease has far fewer than the limit.
            let _ = state.end(lease);
        }
    }

    /// Every leader loses its lease.
    pub fn depose(&self) {
        self.end_leases(|_| true);
    }

    /// Every watch breaks.
    pub fn end_watches(&self) {
        self.state.lock().space.end_watches();
    }

    /// The past is forgotten.
    pub fn compact(&self) {
        self.state.lock().space.compact();
    }

    /// What it holds now.
    pub fn backup(&self) -> Backup {
        let state = self.state.lock();
        Backup { entries: state.space.entries(), revision: state.space.revision(), leased: state.leased() }
    }

    /// Holds what it held then: everything since is lost, watches break, leases end with their keys.
    pub fn restore(&self, backup: &Backup) {
        let mut state = self.state.lock();
        // Those of the backup, too: their leases ended long ago.
        let leased = state.leased().into_iter().chain(backup.leased.iter().cloned()).collect::<BTreeSet<_>>();
        *state = State {
            space: Space::restore(backup.entries.clone(), backup.revision),
            leases: BTreeMap::new(),
            last_lease: state.last_lease,
        };
        for key in leased {
            let _ = state.txn(Txn { compares: vec![], ops: vec![Op::Delete(key)] });
        }
    }
}

#[async_trait]
impl KvStore for MemoryKv {
    async fn get(&self, key: &str) -> Result<Option<Entry>> {
        Ok(self.state.lock().space.get(key))
    }

    async fn range(&self, prefix: &str) -> Result<Range> {
        Ok(self.state.lock().space.range(prefix))
    }

    async fn txn(&self, txn: Txn) -> Result<TxnReply> {
        self.state.lock().txn(txn)
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream> {
        self.state.lock().space.watch(prefix, from)
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId> {
        let ends = self.clock.as_ref().map_or(Duration::MAX, |clock| clock.boot() + ttl);
        let mut state = self.state.lock();
        state.last_lease += 1;
        let id = state.last_lease;
        state.leases.insert(id, Lease { ttl, ends, keys: BTreeSet::new() });
        self.leased.notify_one();
        Ok(id)
    }

    async fn renew(&self, lease: LeaseId) -> Result<bool> {
        let mut state = self.state.lock();
        let Some(found) = state.leases.get_mut(&lease) else { return Ok(false) };
        if let Some(clock) = &self.clock {
            found.ends = clock.boot() + found.ttl;
        }
        self.leased.notify_one();
        Ok(true)
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        self.state.lock().end(lease)
    }
}
