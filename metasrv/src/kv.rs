//! The seam to the store of metadata: an ordered map with revisions, transactions and watches.
//!
//! It is etcd's model and no more, so that the same code runs on etcd, on an
//! embedded file and in memory. Keys are relative: a store that is shared with
//! others puts its own prefix before them.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use futures::Stream;
use varve_model::{Error, Result};

pub mod etcd;
pub mod fault;
pub mod key;
pub mod memory;
mod records;
pub mod redb;
mod space;
#[cfg(test)]
pub(crate) mod tests;

pub use etcd::EtcdKv;
pub use fault::FaultKv;
pub use memory::MemoryKv;
pub use records::{Change, Records, Versioned};
pub use redb::RedbKv;

/// Counts changes of the whole store; 0 is "before the first".
pub type Revision = u64;

/// Names a lease; given by the store.
pub type LeaseId = i64;

/// Operations in one transaction; etcd's own default limit.
pub const TXN_OPS_MAX: usize = 128;

/// What metasrv keeps the truth in. Every method is linearizable.
#[async_trait]
pub trait KvStore: Debug + Send + Sync {
    /// One entry.
    async fn get(&self, key: &str) -> Result<Option<Entry>>;

    /// All entries below a prefix in key order, as of one revision.
    async fn range(&self, prefix: &str) -> Result<Range>;

    /// Does all operations if all comparisons hold, else nothing.
    ///
    /// Errors: `Unavailable` when the outcome is unknown.
    async fn txn(&self, txn: Txn) -> Result<TxnReply>;

    /// Every change below a prefix from this revision on, in order. The stream ends with an error
    /// when the reader lags or the revision is no longer kept: read anew, then watch again.
    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream>;

    /// A lease: what is put under it goes when it is not renewed for `ttl`, rounded up to seconds.
    /// Errors: `Unavailable`; `InvalidRequest` for a store that one process holds alone.
    async fn grant(&self, ttl: Duration) -> Result<LeaseId>;

    /// Renews a lease for its whole ttl, counted from some instant within this call; whether it is
    /// still there. Errors: `Unavailable` when that is unknown.
    async fn renew(&self, lease: LeaseId) -> Result<bool>;

    /// Ends a lease and removes what was put under it; nothing when it has ended.
    async fn revoke(&self, lease: LeaseId) -> Result<()>;
}

/// A key with its value and the revisions of its first and last put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
    /// Revision of the put that created it.
    pub create_revision: Revision,
    /// Revision of the last put.
    pub mod_revision: Revision,
}

/// The answer to [`KvStore::range`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The store's revision when it was read.
    pub revision: Revision,
    /// In key order.
    pub entries: Vec<Entry>,
}

/// A condition of a transaction; revision 0 means that the key does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The key was created at this revision.
    Created(String, Revision),
    /// The key was last put at this revision.
    Modified(String, Revision),
}

/// An operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Sets a value.
    Put(String, Vec<u8>),
    /// Sets a value that goes with a lease; a later plain put frees it from the lease.
    PutLeased(String, Vec<u8>, LeaseId),
    /// Removes a key; nothing happens when it is missing.
    Delete(String),
}

impl Op {
    /// The key concerned.
    pub fn key(&self) -> &str {
        match self {
            Self::Put(key, _) | Self::PutLeased(key, _, _) | Self::Delete(key) => key,
        }
    }
}

/// Conditions and operations. No key may stand in two operations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold.
    pub compares: Vec<Compare>,
    /// Done together, at one revision.
    pub ops: Vec<Op>,
}

impl Txn {
    /// Errors: `Internal` for what etcd would refuse.
    fn check(&self) -> Result<()> {
        let most = self.ops.len().max(self.compares.len());
        if most > TXN_OPS_MAX {
            return Err(Error::internal(format!("{most} operations in one metadata transaction")));
        }
        let keys = self.ops.iter().map(Op::key).collect::<BTreeSet<_>>();
        if keys.len() < self.ops.len() {
            return Err(Error::internal("a key stands twice in one metadata transaction"));
        }
        Ok(())
    }
}

/// The answer to [`KvStore::txn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxnReply {
    /// Whether all comparisons held.
    pub succeeded: bool,
    /// The store's revision afterwards.
    pub revision: Revision,
}

/// What one transaction changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Its revision.
    pub revision: Revision,
    /// Keys with their new value, `None` when removed.
    pub events: Vec<(String, Option<Vec<u8>>)>,
}

/// A stream of changes.
pub type WatchStream = Pin<Box<dyn Stream<Item = Result<Changes>> + Send>>;
