use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use object_store::memory::InMemory;
use varve_service::clock::ManualClock;
use varve_service::task::{Blocking, TaskSet};

use super::*;
use crate::store::fault::{FaultRates, FaultStore};

fn bucket(seed: u64) -> (FaultStore, SharedClock) {
    let clock: SharedClock = Arc::new(ManualClock::new(seed, 0));
    let tasks = TaskSet::new(Blocking::Inline);
    (FaultStore::new(Arc::new(InMemory::new()), Arc::clone(&clock), tasks), clock)
}

fn rates(error_before: u32, error_after: u32, late_effect: u32) -> FaultRates {
    FaultRates {
        error_before,
        error_after,
        late_effect,
        conflict: late_effect,
        latency_max: Duration::from_millis(20),
        late_max: Duration::from_secs(10),
    }
}

async fn create(store: &FaultStore, clock: &SharedClock, body: &'static str) -> Result<Created> {
    let body = Bytes::from_static(body.as_bytes());
    create_verified(store, clock, &Path::from("slot"), &body, ReadBack::Always).await
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_is_our_own_success() {
    let (store, clock) = bucket(1);
    store.set_rates(rates(0, 1000, 0));
    let created = {
        let (store, clock) = (store.clone(), Arc::clone(&clock));
        let heal = async {
            clock.sleep(Duration::from_secs(5)).await;
            store.set_rates(FaultRates::default());
        };
        tokio::join!(create(&store, &clock, "mine"), heal).0
    };
    assert_eq!(created.unwrap(), Created::Created);
    assert_eq!(create(&store, &clock, "other").await.unwrap(), Created::Occupied(Bytes::from_static(b"mine")));
}

#[tokio::test(start_paused = true)]
async fn without_an_answer_the_outcome_is_unknown_not_failed() {
    let (store, clock) = bucket(2);
    store.set_rates(rates(1000, 0, 0));
    assert_eq!(create(&store, &clock, "mine").await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn of_many_racing_creates_one_wins_and_all_know_it() {
    static BODIES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    for seed in 0..60 {
        let (store, clock) = bucket(seed);
        store.set_rates(rates(150, 200, 150));
        let wins = AtomicU64::new(0);
        let outcomes = futures::future::join_all(BODIES.map(|body| create(&store, &clock, body))).await;
        store.set_rates(FaultRates::default());
        let held = store.get(&Path::from("slot")).await.unwrap().bytes().await.unwrap();
        for (body, outcome) in BODIES.iter().zip(outcomes) {
            match outcome {
                Ok(Created::Created) => {
                    assert_eq!(held, body.as_bytes(), "seed {seed}");
                    wins.fetch_add(1, Ordering::Relaxed);
                }
                Ok(Created::Occupied(other)) => assert_eq!(held, other, "seed {seed}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable),
            }
        }
        assert!(wins.load(Ordering::Relaxed) <= 1, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fresh_name_with_other_bytes_is_damage() {
    let (store, clock) = bucket(3);
    create(&store, &clock, "other").await.unwrap();
    let error = create_fresh(&store, &clock, &Path::from("slot"), Bytes::from_static(b"mine")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}
