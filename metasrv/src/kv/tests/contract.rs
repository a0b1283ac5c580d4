//! What every store does, relative to the revision it begins at: an etcd is shared.

use super::*;

/// How long a lease may outlive its ttl: etcd looks every half second, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn put(key: &str, value: &str) -> Op {
    Op::Put(key.to_owned(), value.as_bytes().to_vec())
}

pub(super) async fn txn(kv: &dyn KvStore, compares: Vec<Compare>, ops: Vec<Op>) -> TxnReply {
    kv.txn(Txn { compares, ops }).await.expect("txn")
}

/// Each on a store of its own.
pub(super) async fn every_contract<F>(fresh: impl Fn() -> F)
where
    F: Future<Output = Arc<dyn KvStore>>,
{
    all_or_nothing(fresh().await).await;
    creation_and_change(fresh().await).await;
    ranges(fresh().await).await;
    watches(fresh().await).await;
    refusals(fresh().await).await;
    deposed_leaders(fresh().await).await;
}

async fn all_or_nothing(kv: Arc<dyn KvStore>) {
    let first = txn(&*kv, vec![], vec![put("a", "1"), put("b", "1")]).await;
    assert!(first.succeeded && first.revision > 0);
    let failed = vec![Compare::Modified("a".to_owned(), first.revision), Compare::Created("b".to_owned(), 0)];
    let reply = txn(&*kv, failed, vec![put("a", "2"), put("c", "2")]).await;
    assert_eq!(reply, TxnReply { succeeded: false, revision: first.revision });
    assert_eq!(kv.get("a").await.expect("get").expect("a").value, b"1");
    assert_eq!(kv.get("c").await.expect("get"), None);
}

async fn creation_and_change(kv: Arc<dyn KvStore>) {
    let first = txn(&*kv, vec![], vec![put("a", "1")]).await.revision;
    let second = txn(&*kv, vec![Compare::Created("a".to_owned(), first)], vec![put("a", "2")]).await;
    let entry = kv.get("a").await.expect("get").expect("a");
    assert_eq!((entry.create_revision, entry.mod_revision), (first, second.revision));
    assert!(second.succeeded && second.revision > first);
    txn(&*kv, vec![], vec![Op::Delete("a".to_owned())]).await;
    let again = txn(&*kv, vec![Compare::Created("a".to_owned(), 0)], vec![put("a", "3")]).await;
    assert!(again.succeeded);
    assert_eq!(kv.get("a").await.expect("get").expect("a").create_revision, again.revision);
}

async fn ranges(kv: Arc<dyn KvStore>) {
    let reply = txn(&*kv, vec![], vec![put("b/2", ""), put("b/1", ""), put("a", ""), put("bb", "")]).await;
    let range = kv.range("b/").await.expect("range");
    assert_eq!(range.revision, reply.revision);
    assert_eq!(range.entries.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["b/1", "b/2"]);
    assert_eq!(kv.range("").await.expect("range").entries.len(), 4);
}

async fn watches(kv: Arc<dyn KvStore>) {
    let first = txn(&*kv, vec![], vec![put("a/1", "x"), put("other", "x")]).await.revision;
    txn(&*kv, vec![], vec![put("other", "y")]).await;
    let mut changes = kv.watch("a/", first).await.expect("watch");
    let third = txn(&*kv, vec![], vec![Op::Delete("a/1".to_owned()), put("a/2", "z")]).await.revision;
    let seen = changes.next().await.expect("one").expect("ok");
    assert_eq!(seen, Changes { revision: first, events: vec![("a/1".to_owned(), Some(b"x".to_vec()))] });
    let mut seen = changes.next().await.expect("one").expect("ok");
    seen.events.sort();
    assert_eq!(seen.revision, third);
    assert_eq!(seen.events, [("a/1".to_owned(), None), ("a/2".to_owned(), Some(b"z".to_vec()))]);
    assert!(changes.next().now_or_never().is_none(), "nothing else happened");
}

async fn refusals(kv: Arc<dyn KvStore>) {
    let before = txn(&*kv, vec![], vec![put("x", "")]).await.revision;
    let twice = Txn { compares: vec![], ops: vec![put("a", "1"), put("a", "2")] };
    kv.txn(twice).await.expect_err("a key twice");
    let many = Txn { compares: vec![], ops: (0..=TXN_OPS_MAX).map(|at| put(&at.to_string(), "")).collect() };
    kv.txn(many).await.expect_err("too many operations");
    let reply = txn(&*kv, vec![], vec![Op::Delete("missing".to_owned())]).await;
    assert_eq!(reply, TxnReply { succeeded: true, revision: before }, "nothing changed, so no revision");
}

async fn deposed_leaders(kv: Arc<dyn KvStore>) {
    let old = crate::leader::seize(Arc::clone(&kv), "old", 0).await.expect("seize");
    let new = crate::leader::seize(Arc::clone(&kv), "new", 0).await.expect("seize");
    let mut change = Change::default();
    change.put(&CounterKey::Table, &CounterRecord { next: 1 }).expect("encode");
    let error = old.commit(change.clone()).await.expect_err("deposed");
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert_eq!(kv.get(&CounterKey::Table.text()).await.expect("get"), None);
    new.commit(change).await.expect("commit").expect("leads");
}

/// On stores that have them.
pub(super) async fn leases(kv: Arc<dyn KvStore>) {
    let lease = kv.grant(Duration::from_millis(1_500)).await.expect("grant");
    assert!(kv.renew(lease).await.expect("renew"));
    let leased = |key: &str| Op::PutLeased(key.to_owned(), vec![], lease);
    let made = txn(&*kv, vec![], vec![leased("a"), leased("b"), leased("c")]).await.revision;
    txn(&*kv, vec![], vec![put("b", "free")]).await;
    let mut changes = kv.watch("a", made + 1).await.expect("watch");
    kv.revoke(lease).await.expect("revoke");
    let gone = tokio::time::timeout(PATIENCE, changes.next()).await.expect("soon").expect("one").expect("ok");
    assert_eq!(gone.events, [("a".to_owned(), None)]);
    let left = kv.range("").await.expect("range").entries;
    assert_eq!(left.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["b"], "a plain put frees a key");
    assert!(!kv.renew(lease).await.expect("renew"), "it has ended");
    kv.revoke(lease).await.expect("ending it twice is nothing");
    kv.txn(Txn { compares: vec![], ops: vec![leased("a")] }).await.expect_err("no such lease");
}

/// More entries than one reply holds.
pub(super) async fn many_pages(kv: Arc<dyn KvStore>) {
    for part in 0..6 {
        let ops = (0..100).map(|at| put(&format!("k/{part}{at:02}"), "v")).collect();
        txn(&*kv, vec![], ops).await;
    }
    let range = kv.range("k/").await.expect("range");
    assert_eq!(range.entries.len(), 600);
    assert!(range.entries.is_sorted_by(|a, b| a.key < b.key));
}
