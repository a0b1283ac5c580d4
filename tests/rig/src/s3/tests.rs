//! The server through a published client.

#![allow(clippy::result_large_err, reason = "the error is the store's own")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, RetryConfig};

use super::*;

async fn server() -> Server {
    Server::start("127.0.0.1:0".parse().unwrap(), Objects::in_memory()).await.unwrap()
}

fn client(server: &Server) -> AmazonS3 {
    client_of(server, ACCESS_KEY)
}

fn client_of(server: &Server, access_key: &str) -> AmazonS3 {
    AmazonS3Builder::new()
        .with_endpoint(server.endpoint())
        .with_bucket_name(BUCKET)
        .with_access_key_id(access_key)
        .with_secret_access_key(SECRET_KEY)
        .with_region("us-east-1")
        .with_allow_http(true)
        .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
        .build()
        .unwrap()
}

async fn create(store: &AmazonS3, key: &str, body: &str) -> object_store::Result<()> {
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    store.put_opts(&Path::from(key), Bytes::from(body.to_owned()).into(), options).await.map(|_| ())
}

async fn read(store: &AmazonS3, key: &str) -> object_store::Result<Bytes> {
    store.get(&Path::from(key)).await?.bytes().await
}

#[tokio::test]
async fn of_racing_creates_one_wins_and_its_body_stays() {
    let server = server().await;
    let store = Arc::new(client(&server));
    for round in 0..20 {
        let key = format!("race/{round}");
        let attempts = (0..16).map(|number| {
            let (store, key) = (Arc::clone(&store), key.clone());
            async move { (number, create(&store, &key, &number.to_string()).await) }
        });
        let ended = futures::future::join_all(attempts).await;
        let winners = ended.iter().filter(|(_, ended)| ended.is_ok()).map(|(number, _)| *number).collect::<Vec<_>>();
        assert_eq!(winners.len(), 1, "{winners:?}");
        let refused = ended.iter().filter_map(|(_, ended)| ended.as_ref().err());
        assert!(refused.into_iter().all(|error| matches!(error, object_store::Error::AlreadyExists { .. })));
        assert_eq!(read(&store, &key).await.unwrap(), winners[0].to_string());
    }
}

#[tokio::test]
async fn listings_are_sorted_whole_and_begin_behind_a_name() {
    let server = server().await;
    let store = client(&server);
    let keys = (0..1500).map(|number| format!("m/{number:016x}")).collect::<Vec<_>>();
    let puts = futures::stream::iter(&keys).map(|key| create(&store, key, "x")).buffered(16);
    puts.try_collect::<Vec<_>>().await.unwrap();
    create(&store, "n/other", "x").await.unwrap();
    let listed = async |after: Option<&str>| {
        let listing = match after {
            None => store.list(Some(&Path::from("m"))),
            Some(after) => store.list_with_offset(Some(&Path::from("m")), &Path::from(after)),
        };
        listing.map_ok(|meta| meta.location.to_string()).try_collect::<Vec<_>>().await.unwrap()
    };
    assert_eq!(listed(None).await, keys);
    assert_eq!(listed(Some(&keys[1200])).await, keys[1201..]);
    let top = store.list_with_delimiter(None).await.unwrap();
    assert_eq!(top.common_prefixes, [Path::from("m"), Path::from("n")]);
    let paths = futures::stream::iter(keys.iter().map(|key| Ok(Path::from(key.as_str()))).collect::<Vec<_>>());
    let deleted = store.delete_stream(Box::pin(paths)).try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(deleted.len(), keys.len());
    assert_eq!(listed(None).await, Vec::<String>::new());
    assert!(server.counts()[&Operation::BulkDelete] >= 2);
}

#[tokio::test]
async fn a_folder_keeps_objects_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let server = Server::start(any, Objects::in_folder(folder.path()).unwrap()).await.unwrap();
    create(&client(&server), "r/ab/00.wal", "first").await.unwrap();
    drop(server);
    let server = Server::start(any, Objects::in_folder(folder.path()).unwrap()).await.unwrap();
    let store = client(&server);
    assert_eq!(read(&store, "r/ab/00.wal").await.unwrap(), "first");
    assert!(matches!(create(&store, "r/ab/00.wal", "second").await, Err(object_store::Error::AlreadyExists { .. })));
    assert_eq!(store.get_range(&Path::from("r/ab/00.wal"), 1..3).await.unwrap(), "ir");
    store.delete(&Path::from("r/ab/00.wal")).await.unwrap();
    assert!(matches!(read(&store, "r/ab/00.wal").await, Err(object_store::Error::NotFound { .. })));
}

#[tokio::test]
async fn rules_harm_what_they_name() {
    let server = server().await;
    let store = client(&server);
    let rules = server.rules();
    rules.add(Rule::once(Operation::Put, "slow", Fault::SlowDown));
    assert!(create(&store, "slow", "x").await.is_err());
    assert!(create(&store, "slow", "x").await.is_ok());
    rules.add(Rule::once(Operation::Put, "after", Fault::ErrorAfter));
    assert!(create(&store, "after", "x").await.is_err());
    assert_eq!(read(&store, "after").await.unwrap(), "x");
    rules.add(Rule::once(Operation::Put, "late", Fault::LateEffect(Duration::from_millis(50))));
    assert!(create(&store, "late", "x").await.is_err());
    assert_eq!(read(&store, "late").await.unwrap(), "x");
    rules.add(Rule::once(Operation::Put, "conflict", Fault::Conflict));
    assert!(matches!(create(&store, "conflict", "x").await, Err(object_store::Error::AlreadyExists { .. })));
    assert!(read(&store, "conflict").await.is_err());
    rules.add(Rule::always(Operation::Put, Fault::IgnoreConditions));
    create(&store, "slow", "y").await.unwrap();
    assert_eq!(read(&store, "slow").await.unwrap(), "y");
    rules.clear();
    for fault in [Fault::Truncate, Fault::FlipBit] {
        rules.add(Rule::once(Operation::Get, "slow", fault));
        assert_ne!(read(&store, "slow").await.ok().as_deref(), Some(&b"y"[..]));
    }
    assert_eq!(read(&store, "slow").await.unwrap(), "y");
}

#[tokio::test]
async fn rules_tell_keys_signers_and_times_apart() {
    let server = server().await;
    let (store, renewed) = (client(&server), client_of(&server, OTHER_ACCESS_KEY));
    let rules = server.rules();
    rules.add(Rule { key: "r/*/m/".to_owned(), ..Rule::always(Operation::Put, Fault::ErrorBefore) });
    assert!(create(&store, "r/ab/m/1", "x").await.is_err());
    for key in ["r/ab/d/1", "m/r/1", "x/m/r/"] {
        create(&store, key, "x").await.unwrap();
    }
    rules.clear();
    let expired = Rule::always(Operation::Get, Fault::Forbidden);
    rules.add(Rule { signed_with: Some(ACCESS_KEY.to_owned()), ..expired.clone() });
    assert!(matches!(read(&store, "m/r/1").await, Err(object_store::Error::PermissionDenied { .. })));
    assert_eq!(read(&renewed, "m/r/1").await.unwrap(), "x");
    rules.clear();
    let day = Duration::from_hours(24);
    rules.add(Rule { time: day..2 * day, ..expired.clone() });
    assert_eq!(read(&store, "m/r/1").await.unwrap(), "x");
    rules.add(Rule { time: Duration::ZERO..day, ..expired });
    assert!(read(&store, "m/r/1").await.is_err());
}

#[tokio::test]
async fn a_body_may_trickle_and_a_part_may_be_of_elsewhere() {
    let server = server().await;
    let store = client(&server);
    create(&store, "a", "0123456789").await.unwrap();
    server.rules().add(Rule::once(Operation::Get, "a", Fault::Trickle(40)));
    let mut pieces = store.get(&Path::from("a")).await.unwrap().into_stream();
    let first = pieces.next().await.unwrap().unwrap();
    assert!(!first.is_empty() && first.len() < 10, "{first:?}");
    server.rules().add(Rule::once(Operation::Get, "a", Fault::WrongRange));
    assert!(store.get_range(&Path::from("a"), 2..5).await.is_err());
    assert_eq!(store.get_range(&Path::from("a"), 2..5).await.unwrap(), "234");
}
