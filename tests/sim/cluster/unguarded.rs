//! The metadata store as every metasrv finds it, with a planted bug: transactions that compare nothing.
//!
//! The bug is one of metasrv. It stands in the store, because what a
//! transaction compares is all that its guard consists of.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use varve_engine::fault::bug::{self, Bug};
use varve_metasrv::kv::key::{Key, LeaderKey};
use varve_metasrv::kv::{Compare, Entry, KvStore, LeaseId, Range, Revision, Txn, TxnReply, WatchStream};
use varve_model::Result;

/// A store that may forget the conditions of a leader's transactions.
#[derive(Debug)]
pub(crate) struct Unguarded(pub(crate) Arc<dyn KvStore>);

/// Whether the transaction is one of a leader; an election compares that there is none.
fn is_of_a_leader(txn: &Txn) -> bool {
    let leader = LeaderKey.text();
    txn.compares.iter().any(|compare| matches!(compare, Compare::Created(key, term) if *key == leader && *term != 0))
}

#[async_trait]
impl KvStore for Unguarded {
    async fn get(&self, key: &str) -> Result<Option<Entry>> {
        self.0.get(key).await
    }

    async fn range(&self, prefix: &str) -> Result<Range> {
        self.0.range(prefix).await
    }

    async fn txn(&self, mut txn: Txn) -> Result<TxnReply> {
        if bug::is(Bug::NoLeaderGuard) && is_of_a_leader(&txn) {
            txn.compares.clear();
        }
        self.0.txn(txn).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream> {
        self.0.watch(prefix, from).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId> {
        self.0.grant(ttl).await
    }

    async fn renew(&self, lease: LeaseId) -> Result<bool> {
        self.0.renew(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        self.0.revoke(lease).await
    }
}
