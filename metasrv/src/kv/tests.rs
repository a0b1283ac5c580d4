use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use varve_model::ErrorKind;
use varve_service::task::{Blocking, TaskSet};

use super::key::{CounterKey, CounterRecord, Key};
use super::*;

/// Each contract test runs on every store.
async fn stores() -> Vec<(Arc<dyn KvStore>, Option<tempfile::TempDir>)> {
    let folder = tempfile::tempdir().expect("temp folder");
    let redb = RedbKv::open(&folder.path().join("meta.redb"), &TaskSet::new(Blocking::Threads)).await.expect("open");
    vec![(Arc::new(MemoryKv::new()), None), (Arc::new(redb), Some(folder))]
}

fn put(key: &str, value: &str) -> Op {
    Op::Put(key.to_owned(), value.as_bytes().to_vec())
}

async fn txn(kv: &dyn KvStore, compares: Vec<Compare>, ops: Vec<Op>) -> TxnReply {
    kv.txn(Txn { compares, ops }).await.expect("txn")
}

#[tokio::test]
async fn a_transaction_does_all_or_nothing() {
    for (kv, _folder) in stores().await {
        let reply = txn(&*kv, vec![], vec![put("a", "1"), put("b", "1")]).await;
        assert_eq!(reply, TxnReply { succeeded: true, revision: 1 });
        let failed = vec![Compare::Modified("a".to_owned(), 1), Compare::Created("b".to_owned(), 0)];
        let reply = txn(&*kv, failed, vec![put("a", "2"), put("c", "2")]).await;
        assert_eq!(reply, TxnReply { succeeded: false, revision: 1 });
        assert_eq!(kv.get("a").await.expect("get").expect("a").value, b"1");
        assert_eq!(kv.get("c").await.expect("get"), None);
    }
}

#[tokio::test]
async fn revisions_tell_creation_from_change() {
    for (kv, _folder) in stores().await {
        txn(&*kv, vec![], vec![put("a", "1")]).await;
        txn(&*kv, vec![Compare::Created("a".to_owned(), 1)], vec![put("a", "2")]).await;
        let entry = kv.get("a").await.expect("get").expect("a");
        assert_eq!((entry.create_revision, entry.mod_revision), (1, 2));
        txn(&*kv, vec![], vec![Op::Delete("a".to_owned())]).await;
        txn(&*kv, vec![Compare::Created("a".to_owned(), 0)], vec![put("a", "3")]).await;
        assert_eq!(kv.get("a").await.expect("get").expect("a").create_revision, 4);
    }
}

#[tokio::test]
async fn a_range_is_all_below_a_prefix_in_key_order() {
    for (kv, _folder) in stores().await {
        txn(&*kv, vec![], vec![put("b/2", ""), put("b/1", ""), put("a", ""), put("bb", "")]).await;
        let range = kv.range("b/").await.expect("range");
        assert_eq!(range.revision, 1);
        assert_eq!(range.entries.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["b/1", "b/2"]);
        assert_eq!(kv.range("").await.expect("range").entries.len(), 4);
    }
}

#[tokio::test]
async fn a_watch_sees_past_and_future_changes_once_and_in_order() {
    for (kv, _folder) in stores().await {
        txn(&*kv, vec![], vec![put("a/1", "x"), put("other", "x")]).await;
        txn(&*kv, vec![], vec![put("other", "y")]).await;
        let mut changes = kv.watch("a/", 1).await.expect("watch");
        txn(&*kv, vec![], vec![Op::Delete("a/1".to_owned()), put("a/2", "z")]).await;
        let first = changes.next().await.expect("one").expect("ok");
        assert_eq!(first, Changes { revision: 1, events: vec![("a/1".to_owned(), Some(b"x".to_vec()))] });
        let second = changes.next().await.expect("one").expect("ok");
        assert_eq!(second.revision, 3);
        assert_eq!(second.events, [("a/2".to_owned(), Some(b"z".to_vec())), ("a/1".to_owned(), None)]);
        assert!(changes.next().now_or_never().is_none(), "nothing else happened");
    }
}

#[tokio::test]
async fn a_watcher_that_lags_is_ended_with_an_error() {
    let kv = MemoryKv::new();
    let mut changes = kv.watch("", 1).await.expect("watch");
    for _ in 0..1100 {
        txn(&kv, vec![], vec![put("a", "1")]).await;
    }
    let mut seen = 0;
    let error = loop {
        match changes.next().await.expect("an error comes before the end") {
            Ok(_) => seen += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((seen, error.kind()), (1024, ErrorKind::Unavailable));
    let error = kv.watch("", 1).await.err().expect("revision 1 is no longer kept");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn what_etcd_refuses_is_refused_everywhere() {
    for (kv, _folder) in stores().await {
        let twice = Txn { compares: vec![], ops: vec![put("a", "1"), put("a", "2")] };
        kv.txn(twice).await.expect_err("a key twice");
        let many = Txn { compares: vec![], ops: (0..=TXN_OPS_MAX).map(|at| put(&at.to_string(), "")).collect() };
        kv.txn(many).await.expect_err("too many operations");
        let reply = txn(&*kv, vec![], vec![Op::Delete("missing".to_owned())]).await;
        assert_eq!(reply, TxnReply { succeeded: true, revision: 0 }, "nothing changed, so no revision");
    }
}

#[tokio::test]
async fn a_file_store_is_what_it_was_after_a_restart() {
    let folder = tempfile::tempdir().expect("temp folder");
    let path = folder.path().join("meta.redb");
    let tasks = TaskSet::new(Blocking::Threads);
    let kv = RedbKv::open(&path, &tasks).await.expect("open");
    txn(&kv, vec![], vec![put("a", "1"), put("b", "1")]).await;
    txn(&kv, vec![], vec![put("a", "2"), Op::Delete("b".to_owned())]).await;
    let before = kv.range("").await.expect("range");
    let error = RedbKv::open(&path, &tasks).await.expect_err("one process at a time");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    drop(kv);
    let kv = RedbKv::open(&path, &tasks).await.expect("open again");
    assert_eq!(kv.range("").await.expect("range"), before);
    assert_eq!(txn(&kv, vec![], vec![put("c", "1")]).await.revision, 3);
    assert!(kv.watch("", 2).await.is_err(), "history ends with the process");
    assert!(kv.watch("", 4).await.is_ok(), "the future can be watched");
}

#[tokio::test]
async fn a_file_of_garbage_is_corrupt() {
    let folder = tempfile::tempdir().expect("temp folder");
    let path = folder.path().join("meta.redb");
    std::fs::write(&path, vec![0x5a; 8192]).expect("write");
    let error = RedbKv::open(&path, &TaskSet::new(Blocking::Threads)).await.expect_err("garbage");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[tokio::test]
async fn a_deposed_leader_writes_nothing() {
    for (kv, _folder) in stores().await {
        let old = crate::leader::seize(Arc::clone(&kv), "old", 0).await.expect("seize");
        let new = crate::leader::seize(Arc::clone(&kv), "new", 0).await.expect("seize");
        let mut change = Change::default();
        change.put(&CounterKey::Table, &CounterRecord { next: 1 }).expect("encode");
        let error = old.commit(change.clone()).await.expect_err("deposed");
        assert_eq!(error.kind(), ErrorKind::Fenced);
        assert_eq!(kv.get(&CounterKey::Table.text()).await.expect("get"), None);
        new.commit(change).await.expect("commit").expect("leads");
    }
}
