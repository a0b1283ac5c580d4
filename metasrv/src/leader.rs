//! Who may write, and until when.
//!
//! Every transaction compares the create revision of the leader key, so that a
//! deposed leader's writes do nothing. What is no write, above all the answer
//! to a beat, is guarded by the leader's own lease: it counts from the last send
//! that the store acknowledged, and so ends before the store lets another lead.
//! A store that one process holds alone is led by whoever opened it last.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use parking_lot::Mutex;
use varve_model::{Error, Result};
use varve_proto::metasrv::not_leader;
use varve_service::clock::SharedClock;

use crate::kv::key::{self, Key, LeaderKey, LeaderRecord};
use crate::kv::{Compare, KvStore, LeaseId, Op, Records, Revision, Txn};

#[cfg(test)]
mod tests;

/// Times that [`seize`] tries again when another one comes between.
const TRIES_MAX: usize = 16;
/// How often a follower looks by itself whether there is a leader: watches can fail silently.
const FOLLOW_EVERY: Duration = Duration::from_secs(2);
/// Pause before a renewal that failed is tried again.
const RENEW_PAUSE: Duration = Duration::from_millis(200);

/// The right of one term to answer. It ends once and for all.
#[derive(Debug)]
pub(crate) struct Leadership {
    /// On the boot clock; `None` for whoever holds the store alone.
    valid_until: Mutex<Option<Duration>>,
}

impl Leadership {
    /// Of a store that one process holds.
    pub(crate) fn alone() -> Arc<Self> {
        Arc::new(Self { valid_until: Mutex::new(None) })
    }

    fn until(valid_until: Duration) -> Arc<Self> {
        Arc::new(Self { valid_until: Mutex::new(Some(valid_until)) })
    }

    /// Errors: [`not_leader`] once the lease is over.
    pub(crate) fn check(&self, now: Duration) -> Result<()> {
        match *self.valid_until.lock() {
            Some(until) if now >= until => Err(not_leader(None)),
            _ => Ok(()),
        }
    }

    fn ends(&self) -> Option<Duration> {
        *self.valid_until.lock()
    }

    /// The store acknowledged a renewal that was sent so that it lasts until then.
    fn renew(&self, until: Duration) {
        let mut valid_until = self.valid_until.lock();
        // A term that was ended stays so.
        if valid_until.is_some_and(|old| old > Duration::ZERO && until > old) {
            *valid_until = Some(until);
        }
    }

    /// From now on it is over.
    pub(crate) fn end(&self) {
        *self.valid_until.lock() = Some(Duration::ZERO);
    }
}

/// A member that stands for election.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) kv: Arc<dyn KvStore>,
    pub(crate) clock: SharedClock,
    pub(crate) name: String,
    /// Where clients reach it.
    pub(crate) address: String,
    /// How long it leads without the store's word.
    pub(crate) lease: Duration,
}

/// An election that was won.
#[derive(Debug)]
pub(crate) struct Won {
    pub(crate) records: Records,
    pub(crate) leadership: Arc<Leadership>,
    term: Revision,
    lease: LeaseId,
}

impl Candidate {
    /// Returns when nobody leads; tells `seen` who does meanwhile. Errors: `Unavailable`, `Corrupt`.
    pub(crate) async fn follow(&self, seen: impl Fn(Option<LeaderRecord>)) -> Result<()> {
        let text = LeaderKey.text();
        loop {
            let Some(entry) = self.kv.get(&text).await? else {
                seen(None);
                return Ok(());
            };
            seen(Some(key::decode(&LeaderKey, &entry.value)?));
            let mut changes = self.kv.watch(&text, entry.mod_revision + 1).await?;
            tokio::select! {
                // Whatever came, an error too: look again.
                _ = changes.next() => {}
                () = self.clock.sleep(FOLLOW_EVERY) => {}
            }
        }
    }

    /// Takes the leadership if nobody has it. Errors: `Unavailable`; what was taken then goes with its lease.
    pub(crate) async fn campaign(&self) -> Result<Option<Won>> {
        let sent = self.clock.boot();
        let lease = self.kv.grant(self.lease).await?;
        let since_ms = self.clock.wall_nanos() / 1_000_000;
        let record = LeaderRecord { name: self.name.clone(), address: self.address.clone(), since_ms };
        let put = Op::PutLeased(LeaderKey.text(), key::encode(&LeaderKey, &record)?, lease);
        let taken = self.kv.txn(Txn { compares: vec![Compare::Created(LeaderKey.text(), 0)], ops: vec![put] }).await;
        match taken {
            Ok(reply) if reply.succeeded => {
                let records = Records::new(Arc::clone(&self.kv), reply.revision);
                let leadership = Leadership::until(sent + self.lease);
                Ok(Some(Won { records, leadership, term: reply.revision, lease }))
            }
            lost => {
                // If this fails the lease ends by itself.
                let _ = self.kv.revoke(lease).await;
                lost.map(|_| None)
            }
        }
    }

    /// Renews the lease; returns when the leadership is lost.
    pub(crate) async fn keep(&self, won: &Won) {
        let mut pause = self.lease / 3;
        loop {
            self.clock.sleep(pause).await;
            let sent = self.clock.boot();
            let Some(left) =
                won.leadership.ends().and_then(|ends| ends.checked_sub(sent)).filter(|left| !left.is_zero())
            else {
                tracing::warn!(
                    name = self.name,
                    "this metasrv leads no longer: the store did not renew its lease in time"
                );
                return;
            };
            let renewed = tokio::select! {
                renewed = self.renew(won) => renewed,
                () = self.clock.sleep(left) => continue,
            };
            pause = match renewed {
                Ok(true) => {
                    won.leadership.renew(sent + self.lease);
                    self.lease / 3
                }
                Ok(false) => {
                    tracing::warn!(name = self.name, "this metasrv leads no longer: its lease has ended");
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "the leader's lease could not be renewed and is tried again");
                    RENEW_PAUSE
                }
            };
        }
    }

    /// Whether the lease is renewed and the leader key is still this term's.
    async fn renew(&self, won: &Won) -> Result<bool> {
        if !self.kv.renew(won.lease).await? {
            return Ok(false);
        }
        // Somebody may have removed the key by hand, or restored a backup.
        let entry = self.kv.get(&LeaderKey.text()).await?;
        Ok(entry.is_some_and(|entry| entry.create_revision == won.term))
    }

    /// Lets another lead at once. If it fails the lease ends by itself.
    pub(crate) async fn resign(&self, won: &Won) {
        won.leadership.end();
        tokio::select! {
            _ = self.kv.revoke(won.lease) => {}
            () = self.clock.sleep(self.lease / 3) => {}
        }
    }
}

/// Makes this process the leader, deposing whoever was. Errors: `Unavailable`.
pub(crate) async fn seize(kv: Arc<dyn KvStore>, name: &str, now_ms: i64) -> Result<Records> {
    let text = LeaderKey.text();
    let record = LeaderRecord { name: name.to_owned(), address: String::new(), since_ms: now_ms };
    let value = key::encode(&LeaderKey, &record)?;
    for _ in 0..TRIES_MAX {
        if let Some(old) = kv.get(&text).await? {
            // Two steps, because a put on an existing key would keep its create revision.
            let compares = vec![Compare::Created(text.clone(), old.create_revision)];
            kv.txn(Txn { compares, ops: vec![Op::Delete(text.clone())] }).await?;
        }
        let txn =
            Txn { compares: vec![Compare::Created(text.clone(), 0)], ops: vec![Op::Put(text.clone(), value.clone())] };
        let reply = kv.txn(txn).await?;
        if reply.succeeded {
            return Ok(Records::new(kv, reply.revision));
        }
    }
    Err(Error::unavailable("another metasrv keeps taking the leadership of this store"))
}
