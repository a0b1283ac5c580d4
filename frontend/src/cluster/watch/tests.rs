use async_trait::async_trait;
use varve_model::id::{FrontendId, NodeEpoch, TableId};
use varve_proto::metasrv::{Beat, BeatReply, Catalog, Messages, Outcome, Registration, Session};
use varve_service::clock::ManualClock;

use super::*;

/// How a watch goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goes {
    /// It is refused.
    Refused,
    /// It gives a number and breaks.
    Seated,
    /// It brings a snapshot and breaks, as when a leader loses its term.
    News,
    /// It brings a snapshot and ends, as when a leader stops.
    Closed,
}

/// A metasrv whose watches end at once, each as it is told.
#[derive(Debug)]
struct Breaking {
    clock: SharedClock,
    goes: Vec<Goes>,
    /// When watches were opened.
    opened: RwLock<Vec<Duration>>,
}

#[async_trait]
impl MetasrvApi for Breaking {
    async fn watch(&self, _: &Call, _: Option<Watcher>) -> Result<Messages<Result<Arc<News>>>> {
        let number = self.opened.read().len();
        self.opened.write().push(self.clock.boot());
        let Some(goes) = self.goes.get(number) else { return std::future::pending().await };
        let broken = || Error::unavailable("it broke");
        let word = |change| Ok(Arc::new(News { revision: 1, change }));
        let seated = word(Change::Seated(FrontendId(1)));
        let snapshot = word(Change::Snapshot(Catalog::default()));
        let messages = match goes {
            Goes::Refused => return Err(broken()),
            Goes::Seated => vec![seated, Err(broken())],
            Goes::News => vec![seated, snapshot, Err(broken())],
            Goes::Closed => vec![seated, snapshot],
        };
        Ok(Box::pin(futures::stream::iter(messages)))
    }

    async fn register(&self, _: &Call, _: Registration) -> Result<Session> {
        Err(Error::unsupported("watches only"))
    }

    async fn heartbeat(&self, _: &Call, _: NodeEpoch, _: Messages<Beat>) -> Result<Messages<Result<BeatReply>>> {
        Err(Error::unsupported("watches only"))
    }

    async fn execute(&self, _: &Call, _: Procedure) -> Result<Outcome> {
        Err(Error::unsupported("watches only"))
    }

    async fn region_statistics(&self, _: &Call, _: Option<TableId>) -> Result<Vec<RegionReport>> {
        Err(Error::unsupported("watches only"))
    }

    async fn ask(&self, _: &Call, _: FrontendId, _: Inquiry) -> Result<Answers> {
        Err(Error::unsupported("watches only"))
    }

    async fn answer(&self, _: &Call, _: FrontendId, _: u64, _: Answer) -> Result<()> {
        Err(Error::unsupported("watches only"))
    }
}

/// The pauses between watches that go so, in milliseconds.
async fn pauses(goes: &[Goes]) -> Vec<u128> {
    let clock: SharedClock = Arc::new(ManualClock::new(7, 0));
    let opened = RwLock::default();
    let metasrv = Arc::new(Breaking { clock: Arc::clone(&clock), goes: goes.to_vec(), opened });
    let (feed, _questions) =
        Feed::new(Arc::clone(&metasrv) as Arc<dyn MetasrvApi>, Arc::clone(&clock), Processes::new(clock));
    let follow = Arc::new(feed).follow(CancellationToken::new());
    // Time is virtual: when this one ends, all of them were opened.
    assert!(tokio::time::timeout(Duration::from_hours(1), follow).await.is_err());
    let opened = metasrv.opened.read();
    assert_eq!(opened.len(), goes.len() + 1);
    opened.windows(2).map(|pair| pair[1].saturating_sub(pair[0]).as_millis()).collect()
}

#[tokio::test(start_paused = true)]
async fn after_news_a_watch_is_opened_again_at_once_however_it_ended() {
    assert_eq!(pauses(&[Goes::News; 12]).await, [50; 12]);
    assert_eq!(pauses(&[Goes::Closed; 12]).await, [50; 12]);
}

#[tokio::test(start_paused = true)]
async fn watches_without_news_are_opened_ever_more_slowly_until_one_brings_some() {
    let goes =
        [[Goes::Refused; 5], [Goes::Seated; 5], [Goes::News, Goes::Refused, Goes::News, Goes::Closed, Goes::Refused]];
    let paused = pauses(&goes.concat()).await;
    let first = [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000];
    assert_eq!(paused, [&first[..], &[50, 100, 50, 50, 100]].concat());
}
