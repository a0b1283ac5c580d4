//! One change at a time per table and per database; the rest wait their turn.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use varve_model::id::{DatabaseId, TableId};

/// What is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    /// A database; taken before its tables.
    Database(DatabaseId),
    /// A table.
    Table(TableId),
}

/// Locks of this term, in memory: a leader is alone.
#[derive(Debug, Default)]
pub(super) struct Locks {
    held: Mutex<BTreeMap<Target, Arc<tokio::sync::Mutex<()>>>>,
}

impl Locks {
    pub(super) async fn database(&self, id: DatabaseId) -> OwnedMutexGuard<()> {
        self.lock(Target::Database(id)).await
    }

    pub(super) async fn table(&self, id: TableId) -> OwnedMutexGuard<()> {
        self.lock(Target::Table(id)).await
    }

    async fn lock(&self, target: Target) -> OwnedMutexGuard<()> {
        let lock = {
            let mut held = self.held.lock();
            // Nobody holds or waits for a lock that only the map knows.
            held.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(held.entry(target).or_default())
        };
        lock.lock_owned().await
    }
}
