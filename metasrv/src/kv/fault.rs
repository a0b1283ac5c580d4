//! One process's way to a store, with faults: cut off, slow, requests and replies lost.
//!
//! Each metasrv of a simulation has its own, so that one can be cut from the
//! store while the others are not.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use parking_lot::Mutex;
use varve_model::{Error, Result};
use varve_service::clock::SharedClock;

use super::{Entry, KvStore, LeaseId, Range, Revision, Txn, TxnReply, WatchStream};

/// How long a call into the void waits.
const CUT_TIMEOUT: Duration = Duration::from_secs(3);

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KvFaults {
    /// Nothing arrives, in either direction.
    pub is_cut: bool,
    /// Each call takes up to this long.
    pub delay_max: Duration,
    /// Of 1000 calls, those that never arrive.
    pub lost_requests: u32,
    /// Of 1000 calls, those that take effect and whose reply is lost.
    pub lost_replies: u32,
}

/// A store behind a bad link.
#[derive(Debug)]
pub struct FaultKv {
    inner: Arc<dyn KvStore>,
    clock: SharedClock,
    faults: Arc<Mutex<KvFaults>>,
}

impl FaultKv {
    /// A link without faults.
    pub fn new(inner: Arc<dyn KvStore>, clock: SharedClock) -> Self {
        Self { inner, clock, faults: Arc::default() }
    }

    /// From now on this goes wrong.
    pub fn set(&self, faults: KvFaults) {
        *self.faults.lock() = faults;
    }

    fn draws(&self, of_1000: u32) -> bool {
        of_1000 > 0 && self.clock.random() % 1000 < u128::from(of_1000)
    }

    async fn call<T>(&self, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let faults = *self.faults.lock();
        if faults.is_cut || self.draws(faults.lost_requests) {
            self.clock.sleep(CUT_TIMEOUT).await;
            return Err(Error::unavailable("the metadata store does not answer"));
        }
        if !faults.delay_max.is_zero() {
            let delay = self.clock.random() % (faults.delay_max.as_nanos() + 1);
            self.clock.sleep(Duration::from_nanos(delay as u64)).await;
        }
        let answer = work.await;
        // The link may have been cut meanwhile.
        if self.faults.lock().is_cut || self.draws(faults.lost_replies) {
            self.clock.sleep(CUT_TIMEOUT).await;
            return Err(Error::unavailable("the metadata store's reply was lost"));
        }
        answer
    }
}

#[async_trait]
impl KvStore for FaultKv {
    async fn get(&self, key: &str) -> Result<Option<Entry>> {
        self.call(self.inner.get(key)).await
    }

    async fn range(&self, prefix: &str) -> Result<Range> {
        self.call(self.inner.range(prefix)).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnReply> {
        self.call(self.inner.txn(txn)).await
    }

    /// What happens while the link is cut breaks the watch.
    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream> {
        let changes = self.call(self.inner.watch(prefix, from)).await?;
        let state = Some((changes, Arc::clone(&self.faults)));
        Ok(Box::pin(futures::stream::unfold(state, |state| async move {
            let (mut changes, faults) = state?;
            let next = changes.next().await?;
            if faults.lock().is_cut {
                return Some((Err(Error::unavailable("the metadata watch broke")), None));
            }
            Some((next, Some((changes, faults))))
        })))
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId> {
        self.call(self.inner.grant(ttl)).await
    }

    async fn renew(&self, lease: LeaseId) -> Result<bool> {
        self.call(self.inner.renew(lease)).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        self.call(self.inner.revoke(lease)).await
    }
}
