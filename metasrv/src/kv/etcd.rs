//! Metadata in etcd: the cluster's store.
//!
//! The client library knows the RPCs and no more. Deadlines, the choice of an etcd
//! member, the repair of broken watches and the renewal of leases are here:
//! reads are tried on several members, a transaction is sent once, because one
//! whose reply was lost would fail its own comparisons the second time. A lease
//! is renewed by a call of its own each time, so that no stream can hang.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{Compare as EtcdCompare, CompareOp, GetOptions, KeyValue, PutOptions, Txn as EtcdTxn, TxnOp};
use varve_model::{Error, Reason, Result};
use varve_service::clock::SharedClock;

use super::{Compare, Entry, KvStore, LeaseId, Op, Range, Revision, Txn, TxnReply, WatchStream};

mod link;
mod watch;

use link::{Link, failed, is_missing_lease};

/// How long a read may take on one member, and how many members are tried.
const READ_TIMEOUT: Duration = Duration::from_secs(3);
const READ_TRIES: usize = 3;
/// How long a transaction may take: an election inside etcd included.
const TXN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long renewing a lease may take: a third of the leader's lease, so that another try is left.
const RENEW_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Entries of one read of a range, and the bytes that may come with them.
const PAGE_ENTRIES: usize = 256;
const REPLY_BYTES_MAX: usize = 512 << 20;

/// A store in etcd, below a prefix. It connects when it is first needed, and again after a break.
#[derive(Debug)]
pub struct EtcdKv {
    link: Arc<Link>,
    prefix: String,
}

impl EtcdKv {
    /// A store on these members (`host:port` or `https://host:port`), below `<prefix>/`.
    /// Errors: `InvalidRequest` without a member or a prefix.
    ///
    /// Precondition: used within the runtime that will carry the connections.
    pub fn new(endpoints: Vec<String>, prefix: &str, clock: SharedClock) -> Result<Self> {
        let bad = |text: &str| Err(Error::invalid(text).with_reason(Reason::BadValue));
        if endpoints.is_empty() {
            return bad("metasrv.etcd_endpoints is empty: a cluster keeps its metadata in etcd");
        }
        // With its slash, so that no other cluster's prefix begins with it.
        let prefix = format!("{}/", prefix.trim_end_matches('/'));
        if prefix == "/" {
            return bad("metasrv.etcd_prefix is empty: the keys of a cluster need a name of their own");
        }
        Ok(Self { link: Arc::new(Link::new(endpoints, clock)), prefix })
    }

    fn full(&self, key: &str) -> Vec<u8> {
        format!("{}{key}", self.prefix).into_bytes()
    }

    fn entry(&self, from: &KeyValue) -> Result<Entry> {
        Ok(Entry {
            key: relative(&self.prefix, from.key())?,
            value: from.value().to_vec(),
            create_revision: from.create_revision() as Revision,
            mod_revision: from.mod_revision() as Revision,
        })
    }

    /// One read, on up to [`READ_TRIES`] members.
    async fn read(&self, key: Vec<u8>, options: Option<GetOptions>) -> Result<etcd_client::GetResponse> {
        let mut tries = 0;
        loop {
            tries += 1;
            let connected = self.link.connected().await?;
            let mut kv = connected.client.kv_client().max_decoding_message_size(REPLY_BYTES_MAX);
            let reading = Box::pin(kv.get(key.clone(), options.clone()));
            match self.link.within(READ_TIMEOUT, &connected, reading).await {
                Ok(reply) => return Ok(reply),
                Err(error) if tries == READ_TRIES || link::is_final(&error) => return Err(failed("read from", error)),
                Err(_) => {}
            }
        }
    }
}

/// A key without the prefix. Errors: `Corrupt` for one that is no text.
fn relative(prefix: &str, key: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(key).ok().and_then(|text| text.strip_prefix(prefix));
    text.map(str::to_owned).ok_or_else(|| Error::corrupt(format!("etcd has a key of ours that is no text: {key:?}")))
}

/// The end of the range of all keys that begin so: the next string of that length.
fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    // Up to the last key there is.
    vec![0]
}

fn revision_of(header: Option<&etcd_client::ResponseHeader>) -> Result<Revision> {
    let header = header.ok_or_else(|| Error::unavailable("etcd answered without a header"))?;
    Ok(header.revision() as Revision)
}

#[async_trait]
impl KvStore for EtcdKv {
    async fn get(&self, key: &str) -> Result<Option<Entry>> {
        let reply = self.read(self.full(key), None).await?;
        reply.kvs().first().map(|found| self.entry(found)).transpose()
    }

    async fn range(&self, prefix: &str) -> Result<Range> {
        let mut from = self.full(prefix);
        let end = end_of(&from);
        let mut range = Range::default();
        loop {
            // All pages as of the first one's revision; 0 is "now".
            let options = GetOptions::new()
                .with_range(end.clone())
                .with_limit(PAGE_ENTRIES as i64)
                .with_revision(range.revision as i64);
            let reply = self.read(from, Some(options)).await?;
            if range.revision == 0 {
                range.revision = revision_of(reply.header())?;
            }
            for found in reply.kvs() {
                range.entries.push(self.entry(found)?);
            }
            let Some(last) = reply.kvs().last().filter(|_| reply.more()) else { return Ok(range) };
            from = last.key().to_vec();
            // The next key there can be.
            from.push(0);
        }
    }

    async fn txn(&self, txn: Txn) -> Result<TxnReply> {
        txn.check()?;
        let compares = txn.compares.iter().map(|compare| match compare {
            Compare::Created(key, revision) => {
                EtcdCompare::create_revision(self.full(key), CompareOp::Equal, *revision as i64)
            }
            Compare::Modified(key, revision) => {
                EtcdCompare::mod_revision(self.full(key), CompareOp::Equal, *revision as i64)
            }
        });
        let compares = compares.collect::<Vec<_>>();
        let ops = txn.ops.into_iter().map(|op| {
            let key = self.full(op.key());
            match op {
                Op::Put(_, value) => TxnOp::put(key, value, None),
                Op::PutLeased(_, value, lease) => TxnOp::put(key, value, Some(PutOptions::new().with_lease(lease))),
                Op::Delete(_) => TxnOp::delete(key, None),
            }
        });
        let txn = EtcdTxn::new().when(compares).and_then(ops.collect::<Vec<_>>());
        let connected = self.link.connected().await?;
        let mut kv = connected.client.kv_client();
        let reply = self.link.within(TXN_TIMEOUT, &connected, Box::pin(kv.txn(txn))).await;
        let reply = reply.map_err(|error| failed("write to", error))?;
        Ok(TxnReply { succeeded: reply.succeeded(), revision: revision_of(reply.header())? })
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream> {
        watch::open(Arc::clone(&self.link), self.prefix.clone(), self.full(prefix), from).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId> {
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let connected = self.link.connected().await?;
        let mut leases = connected.client.lease_client();
        let granting = Box::pin(leases.grant(seconds.max(1) as i64, None));
        let reply = self.link.within(READ_TIMEOUT, &connected, granting).await;
        Ok(reply.map_err(|error| failed("lease from", error))?.id())
    }

    async fn renew(&self, lease: LeaseId) -> Result<bool> {
        let connected = self.link.connected().await?;
        let mut leases = connected.client.lease_client();
        // The call sends the first renewal of a stream and waits for its answer; the stream ends with it.
        match self.link.within(RENEW_TIMEOUT, &connected, Box::pin(leases.keep_alive(lease))).await {
            Ok(_) => Ok(true),
            Err(error) if is_missing_lease(&error) => Ok(false),
            Err(error) => Err(failed("renew a lease of", error)),
        }
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        let connected = self.link.connected().await?;
        let mut leases = connected.client.lease_client();
        match self.link.within(READ_TIMEOUT, &connected, Box::pin(leases.revoke(lease))).await {
            Ok(_) => Ok(()),
            Err(error) if is_missing_lease(&error) => Ok(()),
            Err(error) => Err(failed("end a lease of", error)),
        }
    }
}

/// The error for a request that etcd takes to be too large.
fn too_large() -> Error {
    Error::invalid("the change is larger than etcd takes in one transaction")
        .with_reason(Reason::TooLarge)
        .with_hint("etcd's --max-request-bytes allows 1.5 MiB by default: use fewer regions or columns per table")
}
