use std::sync::atomic::{AtomicU64, Ordering};

use varve_service::clock::ManualClock;
use varve_service::task::Blocking;

use super::*;

mod http;
mod sdk;

/// What a source hands out: numbered keys that hold for a time, or nothing.
struct Desk {
    fetches: AtomicU64,
    is_closed: AtomicU64,
    clock: SharedClock,
    tasks: TaskSet,
}

impl Desk {
    fn open() -> Arc<Self> {
        let clock: SharedClock = Arc::new(ManualClock::new(1, 1_000_000_000));
        let tasks = TaskSet::new(Blocking::Inline);
        Arc::new(Self { fetches: AtomicU64::new(0), is_closed: AtomicU64::new(0), clock, tasks })
    }

    /// Credentials of this desk; each fetch takes a second.
    fn credentials(self: &Arc<Self>, holds: Option<Duration>) -> Credentials {
        let desk = Arc::clone(self);
        let source = move || {
            let desk = Arc::clone(&desk);
            async move {
                desk.clock.sleep(Duration::from_secs(1)).await;
                let number = desk.fetches.fetch_add(1, Ordering::Relaxed) + 1;
                if desk.is_closed.load(Ordering::Relaxed) > 0 {
                    return Err(Error::unavailable("the desk is closed"));
                }
                let end = holds.map(|holds| desk.clock.wall_nanos() + holds.as_nanos() as i64);
                Ok(Found { credential: Arc::new(key(&format!("key-{number}"))), expires_nanos: end })
            }
            .boxed()
        };
        Credentials::start(Box::new(source), &self.clock, &self.tasks)
    }

    fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::Relaxed)
    }

    fn close(&self, closed: bool) {
        self.is_closed.store(u64::from(closed), Ordering::Relaxed);
    }
}

fn key(id: &str) -> AwsCredential {
    AwsCredential { key_id: id.to_owned(), secret_key: "secret".to_owned(), token: None }
}

async fn id(credentials: &Credentials) -> String {
    credentials.get_credential().await.unwrap().key_id.clone()
}

#[tokio::test(start_paused = true)]
async fn requests_that_come_together_fetch_once() {
    let desk = Desk::open();
    let credentials = desk.credentials(None);
    let ids = futures::future::join_all((0..20).map(|_| id(&credentials))).await;
    assert!(ids.iter().all(|id| id == "key-1"), "{ids:?}");
    desk.clock.sleep(Duration::from_hours(24)).await;
    assert_eq!((id(&credentials).await.as_str(), desk.fetches()), ("key-1", 1));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_gives_up_stops_no_fetch() {
    let desk = Desk::open();
    let credentials = desk.credentials(None);
    assert!(credentials.get_credential().now_or_never().is_none());
    desk.clock.sleep(Duration::from_secs(2)).await;
    assert!(credentials.get_credential().now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn credentials_are_replaced_before_they_end_and_nobody_waits() {
    let desk = Desk::open();
    let credentials = desk.credentials(Some(Duration::from_hours(1)));
    assert_eq!(id(&credentials).await, "key-1");
    let mut seen = Vec::new();
    for _ in 0..180 {
        desk.clock.sleep(Duration::from_mins(1)).await;
        let now = credentials.get_credential().now_or_never().expect("no wait").unwrap();
        seen.push(now.key_id.clone());
    }
    seen.dedup();
    assert_eq!(seen, ["key-1", "key-2", "key-3", "key-4"]);
    assert_eq!(desk.fetches(), 4);
}

#[tokio::test(start_paused = true)]
async fn when_nobody_hands_out_new_ones_the_old_hold_until_their_end_and_then_requests_get_the_error() {
    let desk = Desk::open();
    let credentials = desk.credentials(Some(Duration::from_hours(1)));
    assert_eq!(id(&credentials).await, "key-1");
    desk.close(true);
    desk.clock.sleep(Duration::from_mins(59)).await;
    assert_eq!(id(&credentials).await, "key-1");
    desk.clock.sleep(Duration::from_mins(2)).await;
    let error = credentials.get_credential().await.unwrap_err();
    assert!(error.to_string().contains("the desk is closed"), "{error}");
    desk.close(false);
    desk.clock.sleep(Duration::from_mins(1)).await;
    assert_ne!(id(&credentials).await, "key-1");
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_are_fetched_again_but_not_in_a_flood() {
    let desk = Desk::open();
    let credentials = desk.credentials(None);
    assert_eq!(id(&credentials).await, "key-1");
    desk.clock.sleep(Duration::from_mins(1)).await;
    credentials.refused();
    desk.clock.sleep(Duration::from_secs(2)).await;
    assert_eq!(id(&credentials).await, "key-2");
    for _ in 0..1000 {
        credentials.refused();
        desk.clock.sleep(Duration::from_millis(10)).await;
    }
    let fetches = desk.fetches() - 2;
    assert!((1..=10).contains(&fetches), "{fetches} fetches in 10 s");
}

#[tokio::test(start_paused = true)]
async fn credentials_that_have_ended_already_are_no_credentials() {
    let desk = Desk::open();
    let credentials = desk.credentials(Some(Duration::ZERO));
    let error = credentials.get_credential().await.unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_is_given_up() {
    let clock: SharedClock = Arc::new(ManualClock::new(1, 0));
    let tasks = TaskSet::new(Blocking::Inline);
    let credentials = Credentials::start(Box::new(|| std::future::pending().boxed()), &clock, &tasks);
    let error = credentials.get_credential().await.unwrap_err();
    assert!(error.to_string().contains("did not come"), "{error}");
    tasks.stop().await;
}
