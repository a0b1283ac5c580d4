//! Typed reads, and writes that only the leader can make.

use std::sync::Arc;

use varve_model::{Error, ErrorKind, Reason, Result};

use super::key::{self, Key, LeaderKey};
use super::{Compare, KvStore, Op, Revision, TXN_OPS_MAX, Txn};

/// Bytes of a transaction that is not made larger: etcd takes 1.5 MiB by default.
const TXN_BYTES: usize = 1 << 20;

/// A record with the revision of its last put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// Its key's last put.
    pub revision: Revision,
    /// The record.
    pub record: T,
}

/// Records of the store under one leadership. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Records {
    kv: Arc<dyn KvStore>,
    /// Create revision of the leader key: every write compares it.
    term: Revision,
}

/// A transaction in the making.
#[derive(Clone, Debug, Default)]
pub struct Change {
    txn: Txn,
}

impl Change {
    /// Holds only if the record is as it was read; revision 0: if it does not exist.
    pub fn expect<K: Key>(&mut self, key: &K, revision: Revision) {
        self.txn.compares.push(Compare::Modified(key.text(), revision));
    }

    /// Sets a record. Errors: `Internal` for a value that cannot be encoded.
    pub fn put<K: Key>(&mut self, key: &K, record: &K::Record) -> Result<()> {
        self.txn.ops.push(Op::Put(key.text(), key::encode(key, record)?));
        Ok(())
    }

    /// Removes a record.
    pub fn delete<K: Key>(&mut self, key: &K) {
        self.txn.ops.push(Op::Delete(key.text()));
    }

    /// Whether it is about as large as the store takes.
    pub fn is_full(&self) -> bool {
        let bytes = self.txn.ops.iter().map(|op| match op {
            Op::Put(key, value) | Op::PutLeased(key, value, _) => key.len() + value.len(),
            Op::Delete(key) => key.len(),
        });
        // The leader's comparison comes on top.
        self.txn.compares.len().max(self.txn.ops.len()) + 2 >= TXN_OPS_MAX || bytes.sum::<usize>() >= TXN_BYTES
    }

    /// Whether it does nothing.
    pub fn is_empty(&self) -> bool {
        self.txn.ops.is_empty()
    }
}

impl Records {
    /// Records under the leadership whose key was created at revision `term`.
    pub fn new(kv: Arc<dyn KvStore>, term: Revision) -> Self {
        Self { kv, term }
    }

    /// The store below.
    pub fn kv(&self) -> &Arc<dyn KvStore> {
        &self.kv
    }

    /// One record.
    pub async fn get<K: Key>(&self, key: &K) -> Result<Option<Versioned<K::Record>>> {
        let Some(entry) = self.kv.get(&key.text()).await? else { return Ok(None) };
        let record = key::decode(key, &entry.value)?;
        Ok(Some(Versioned { revision: entry.mod_revision, record }))
    }

    /// All records of a kind, in key order.
    pub async fn all<K: Key>(&self) -> Result<Vec<(K, Versioned<K::Record>)>> {
        self.below(&key::prefix::<K>()).await
    }

    /// All records of a kind whose keys begin so, in key order.
    pub async fn below<K: Key>(&self, prefix: &str) -> Result<Vec<(K, Versioned<K::Record>)>> {
        let range = self.kv.range(prefix).await?;
        let mut records = Vec::with_capacity(range.entries.len());
        for entry in range.entries {
            let Some(key) = key::parse::<K>(&entry.key)? else { continue };
            let record = key::decode(&key, &entry.value)?;
            records.push((key, Versioned { revision: entry.mod_revision, record }));
        }
        Ok(records)
    }

    /// Makes a change; `None` when a record is not as expected (read anew and try again).
    ///
    /// Errors: `Fenced` when another metasrv leads; `Unavailable` when the outcome is unknown.
    pub async fn commit(&self, change: Change) -> Result<Option<Revision>> {
        let mut txn = change.txn;
        txn.compares.push(Compare::Created(LeaderKey.text(), self.term));
        let reply = self.kv.txn(txn).await?;
        if reply.succeeded {
            return Ok(Some(reply.revision));
        }
        let leads = self.kv.get(&LeaderKey.text()).await?.is_some_and(|entry| entry.create_revision == self.term);
        if leads {
            return Ok(None);
        }
        Err(Error::new(ErrorKind::Fenced, "this metasrv leads no longer").with_reason(Reason::NotLeader))
    }
}
