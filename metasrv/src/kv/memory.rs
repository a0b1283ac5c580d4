//! Metadata in memory: for tests and the simulation. What it holds outlives a metasrv that is killed.

use async_trait::async_trait;
use parking_lot::Mutex;
use varve_model::Result;

use super::space::Space;
use super::{Entry, KvStore, Range, Revision, Txn, TxnReply, WatchStream};

/// A store that forgets everything with its process.
#[derive(Debug, Default)]
pub struct MemoryKv {
    space: Mutex<Space>,
}

impl MemoryKv {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl KvStore for MemoryKv {
    async fn get(&self, key: &str) -> Result<Option<Entry>> {
        Ok(self.space.lock().get(key))
    }

    async fn range(&self, prefix: &str) -> Result<Range> {
        Ok(self.space.lock().range(prefix))
    }

    async fn txn(&self, txn: Txn) -> Result<TxnReply> {
        let mut space = self.space.lock();
        let plan = space.plan(txn)?;
        let succeeded = plan.is_some();
        if let Some(plan) = plan {
            space.apply(plan);
        }
        Ok(TxnReply { succeeded, revision: space.revision() })
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream> {
        self.space.lock().watch(prefix, from)
    }
}
