//! The contract of the store: the same tests on memory, file and etcd.

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use varve_model::ErrorKind;
use varve_service::clock::{ManualClock, SharedClock, SystemClock};
use varve_service::task::{Blocking, TaskSet};

use super::fault::KvFaults;
use super::key::{CounterKey, CounterRecord, Key};
use super::*;

mod contract;
pub(crate) mod server;

use contract::{every_contract, put, txn};
use server::Etcd;

#[tokio::test]
async fn memory_keeps_the_contract() {
    every_contract(|| async { Arc::new(MemoryKv::new()) as Arc<dyn KvStore> }).await;
    contract::leases(Arc::new(MemoryKv::new())).await;
}

#[tokio::test]
async fn a_file_keeps_the_contract() {
    let folder = tempfile::tempdir().expect("temp folder");
    let tasks = TaskSet::new(Blocking::Threads);
    let count = std::sync::atomic::AtomicUsize::new(0);
    every_contract(|| async {
        let name = format!("{}.redb", count.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let kv = RedbKv::open(&folder.path().join(name), &tasks).await.expect("open");
        Arc::new(kv) as Arc<dyn KvStore>
    })
    .await;
    let kv = RedbKv::open(&folder.path().join("leases.redb"), &tasks).await.expect("open");
    assert_eq!(kv.grant(Duration::from_secs(5)).await.expect_err("no leases").kind(), ErrorKind::InvalidRequest);
}

#[tokio::test]
async fn etcd_keeps_the_contract() {
    let Some(etcd) = Etcd::start() else { return };
    let count = std::sync::atomic::AtomicUsize::new(0);
    every_contract(|| async {
        etcd.kv(&format!("contract-{}", count.fetch_add(1, std::sync::atomic::Ordering::Relaxed)))
    })
    .await;
    contract::leases(etcd.kv("leases")).await;
    contract::many_pages(etcd.kv("pages")).await;
}

/// Of two clusters in one etcd neither sees the other.
#[tokio::test]
async fn a_prefix_is_a_wall() {
    let Some(etcd) = Etcd::start() else { return };
    let (ours, theirs) = (etcd.kv("a"), etcd.kv("ab"));
    let mut changes = ours.watch("", 1).await.expect("watch");
    txn(&*theirs, vec![], vec![put("x", "1")]).await;
    txn(&*ours, vec![], vec![put("x", "2")]).await;
    assert_eq!(ours.range("").await.expect("range").entries.len(), 1);
    let seen = changes.next().await.expect("one").expect("ok");
    assert_eq!(seen.events, [("x".to_owned(), Some(b"2".to_vec()))]);
}

#[tokio::test]
async fn a_watch_on_etcd_outlives_a_restart_and_ends_at_a_gap() {
    let Some(mut etcd) = Etcd::start() else { return };
    let kv = etcd.kv("w");
    let first = txn(&*kv, vec![], vec![put("a", "1")]).await.revision;
    let mut changes = kv.watch("", first).await.expect("watch");
    assert_eq!(changes.next().await.expect("one").expect("ok").revision, first);
    etcd.kill();
    let error = kv.txn(Txn { compares: vec![], ops: vec![put("a", "lost")] }).await.expect_err("etcd is gone");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    etcd.restart();
    let second = txn(&*kv, vec![], vec![put("a", "2")]).await.revision;
    let seen = changes.next().await.expect("one").expect("the watch begins again by itself");
    assert_eq!((seen.revision, seen.events), (second, vec![("a".to_owned(), Some(b"2".to_vec()))]));
    for value in ["3", "4", "5"] {
        txn(&*kv, vec![], vec![put("a", value)]).await;
    }
    etcd.compact(second + 2).await;
    let error = match kv.watch("", first).await {
        Err(error) => error,
        Ok(mut changes) => changes.next().await.expect("an error").expect_err("a gap"),
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains("no longer kept"), "{error}");
}

#[tokio::test]
async fn one_member_of_etcd_that_is_away_is_passed_over() {
    let Some(etcd) = Etcd::start() else { return };
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address");
    let endpoints = vec![nobody.to_string(), etcd.client.to_string()];
    let kv = EtcdKv::new(endpoints, "x", Arc::new(SystemClock)).expect("settings");
    txn(&kv, vec![], vec![put("a", "1")]).await;
    assert!(kv.get("a").await.expect("get").is_some());
    let none = EtcdKv::new(vec![], "x", Arc::new(SystemClock)).expect_err("no member");
    assert_eq!(none.kind(), ErrorKind::InvalidRequest);
    let bare = EtcdKv::new(vec![nobody.to_string()], "/", Arc::new(SystemClock)).expect_err("no prefix");
    assert_eq!(bare.kind(), ErrorKind::InvalidRequest);
    let away = EtcdKv::new(vec![nobody.to_string()], "x", Arc::new(SystemClock)).expect("settings");
    assert_eq!(away.get("a").await.expect_err("nobody listens").kind(), ErrorKind::Unavailable);
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

#[tokio::test(start_paused = true)]
async fn leases_in_memory_end_by_the_clock_unless_they_are_renewed() {
    let clock: SharedClock = Arc::new(ManualClock::new(1, 0));
    let tasks = TaskSet::new(Blocking::Inline);
    let kv = MemoryKv::timed(Arc::clone(&clock), &tasks);
    let lease = kv.grant(Duration::from_secs(5)).await.expect("grant");
    let mut changes = kv.watch("", 1).await.expect("watch");
    txn(&*kv, vec![], vec![Op::PutLeased("a".to_owned(), b"1".to_vec(), lease)]).await;
    for _ in 0..4 {
        clock.sleep(Duration::from_secs(4)).await;
        assert!(kv.renew(lease).await.expect("renew"));
    }
    assert!(kv.get("a").await.expect("get").is_some());
    clock.sleep(Duration::from_millis(5_001)).await;
    assert_eq!(kv.get("a").await.expect("get"), None);
    assert!(!kv.renew(lease).await.expect("renew"));
    changes.next().await.expect("the put").expect("ok");
    let gone = changes.next().await.expect("the end is seen").expect("ok");
    assert_eq!(gone.events, [("a".to_owned(), None)]);
}

#[tokio::test]
async fn a_restored_backup_forgets_what_came_after_it() {
    let kv = MemoryKv::new();
    txn(&kv, vec![], vec![put("a", "1")]).await;
    let backup = kv.backup();
    txn(&kv, vec![], vec![put("a", "2"), put("b", "1")]).await;
    let mut changes = kv.watch("", 3).await.expect("watch");
    kv.restore(&backup);
    assert_eq!(kv.get("a").await.expect("get").expect("a").value, b"1");
    assert_eq!(kv.get("b").await.expect("get"), None);
    changes.next().await.expect("an error").expect_err("watches end");
    kv.compact();
    assert_eq!(txn(&kv, vec![], vec![put("c", "1")]).await.revision, 2, "revisions are given again");
}

#[tokio::test(start_paused = true)]
async fn a_restored_backup_has_no_key_of_a_lease_that_ended_since() {
    let clock: SharedClock = Arc::new(ManualClock::new(1, 0));
    let tasks = TaskSet::new(Blocking::Inline);
    let kv = MemoryKv::timed(Arc::clone(&clock), &tasks);
    let lease = kv.grant(Duration::from_secs(5)).await.expect("grant");
    txn(&*kv, vec![], vec![Op::PutLeased("a".to_owned(), b"1".to_vec(), lease)]).await;
    let backup = kv.backup();
    clock.sleep(Duration::from_secs(6)).await;
    assert_eq!(kv.get("a").await.expect("get"), None);
    kv.restore(&backup);
    assert_eq!(kv.get("a").await.expect("get"), None, "nothing would ever end it");
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_cut_answers_nothing_and_loses_replies_on_request() {
    let clock: SharedClock = Arc::new(ManualClock::new(1, 0));
    let memory = Arc::new(MemoryKv::new());
    let link = FaultKv::new(memory.clone(), Arc::clone(&clock));
    let mut changes = link.watch("", 1).await.expect("watch");
    link.set(KvFaults { is_cut: true, ..KvFaults::default() });
    let lost = link.txn(Txn { compares: vec![], ops: vec![put("a", "1")] }).await.expect_err("cut");
    assert_eq!((lost.kind(), memory.get("a").await.expect("get")), (ErrorKind::Unavailable, None));
    link.set(KvFaults { lost_replies: 1000, ..KvFaults::default() });
    link.txn(Txn { compares: vec![], ops: vec![put("a", "1")] }).await.expect_err("the reply is lost");
    assert!(memory.get("a").await.expect("get").is_some(), "it took effect");
    link.set(KvFaults { delay_max: Duration::from_millis(50), is_cut: false, ..KvFaults::default() });
    assert!(link.get("a").await.expect("get").is_some());
    assert!(changes.next().await.expect("one").is_ok());
    txn(&*memory, vec![], vec![put("a", "2")]).await;
    link.set(KvFaults { is_cut: true, ..KvFaults::default() });
    changes.next().await.expect("an error").expect_err("the watch broke");
}
