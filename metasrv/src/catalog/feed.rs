//! Follows the store, keeps the image, tells the news to everyone who watches.
//!
//! One watch on the store feeds all watchers through one bounded ring; whoever
//! falls behind it is ended and starts anew with a snapshot.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};
use varve_model::{Error, Result};
use varve_proto::metasrv::{Change, Messages, News};
use varve_service::clock::SharedClock;
use varve_service::task::TaskSet;

use super::image::Image;
use crate::kv::{Changes, KvStore, Revision, WatchStream};

/// News a watcher may lag before it is ended.
const NEWS_QUEUE_MAX: usize = 1024;
/// Pause before the store is read anew after its watch ended.
const RELOAD_PAUSE: Duration = Duration::from_secs(1);

/// The image and its watchers.
#[derive(Debug)]
pub(crate) struct Feed {
    state: Mutex<State>,
    /// Counts changes of the image, for those who wait inside metasrv.
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    image: Image,
    news: broadcast::Sender<Arc<News>>,
}

impl Feed {
    /// Reads the store and follows it until the tasks stop. Errors: `Corrupt`, `Unavailable`.
    pub(crate) async fn start(kv: Arc<dyn KvStore>, clock: SharedClock, tasks: &TaskSet) -> Result<Arc<Self>> {
        let (image, stream) = load(&*kv).await?;
        let state = Mutex::new(State { image, news: broadcast::channel(NEWS_QUEUE_MAX).0 });
        let feed = Arc::new(Self { state, changes: watch::Sender::new(0) });
        let token = tasks.token().clone();
        let follower = Arc::clone(&feed);
        tasks.spawn("catalog feed", async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = follower.follow(kv, stream, clock) => {}
            }
            // Ends every watch: its stream sees the sender go.
            follower.state.lock().news = broadcast::channel(1).0;
        });
        Ok(feed)
    }

    async fn follow(&self, kv: Arc<dyn KvStore>, mut stream: WatchStream, clock: SharedClock) {
        loop {
            let error = match stream.next().await {
                Some(Ok(changes)) => match self.apply(&changes) {
                    Ok(()) => continue,
                    Err(error) => error,
                },
                Some(Err(error)) => error,
                None => Error::unavailable("the metadata watch ended"),
            };
            tracing::warn!(%error, "catalog feed reads the metadata anew");
            stream = loop {
                match load(&*kv).await {
                    Ok((image, stream)) => {
                        let mut state = self.state.lock();
                        // A new ring: the watchers of the old one are ended and start with a snapshot.
                        *state = State { image, news: broadcast::channel(NEWS_QUEUE_MAX).0 };
                        break stream;
                    }
                    Err(error) => tracing::error!(%error, "catalog feed cannot read the metadata"),
                }
                clock.sleep(RELOAD_PAUSE).await;
            };
            self.changes.send_modify(|count| *count += 1);
        }
    }

    fn apply(&self, changes: &Changes) -> Result<()> {
        let mut state = self.state.lock();
        for news in state.image.apply(changes)? {
            // Nobody may be watching: that is no error.
            let _ = state.news.send(Arc::new(news));
        }
        drop(state);
        self.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Looks at the image.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Image) -> T) -> T {
        look(&self.state.lock().image)
    }

    /// The last revision that brought news.
    pub(crate) fn revision(&self) -> Revision {
        self.read(Image::revision)
    }

    /// Waits until the image answers with something. The caller sets the deadline.
    pub(crate) async fn wait<T>(&self, mut look: impl FnMut(&Image) -> Option<T>) -> T {
        let mut changes = self.changes.subscribe();
        loop {
            if let Some(found) = self.read(&mut look) {
                return found;
            }
            // The sender lives as long as the feed, which the caller holds.
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// A snapshot, then every change. Ends with an error when the watcher lags or the feed restarts.
    pub(crate) fn watch(&self) -> Messages<Result<Arc<News>>> {
        let state = self.state.lock();
        let snapshot = News { revision: state.image.revision(), change: Change::Snapshot(state.image.catalog()) };
        let news = Some(state.news.subscribe());
        drop(state);
        let changes = futures::stream::unfold(news, |news| async move {
            let mut news = news?;
            Some(match news.recv().await {
                Ok(one) => (Ok(one), Some(news)),
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    (Err(Error::unavailable(format!("this watch missed {missed} news: watch anew"))), None)
                }
                Err(broadcast::error::RecvError::Closed) => {
                    (Err(Error::unavailable("this watch was ended: watch anew")), None)
                }
            })
        });
        Box::pin(futures::stream::iter([Ok(Arc::new(snapshot))]).chain(changes))
    }
}

/// The image of everything there is, and what follows it.
async fn load(kv: &dyn KvStore) -> Result<(Image, WatchStream)> {
    let range = kv.range("").await?;
    let stream = kv.watch("", range.revision + 1).await?;
    let events = range.entries.into_iter().map(|entry| (entry.key, Some(entry.value))).collect();
    let mut image = Image::default();
    image.apply(&Changes { revision: range.revision, events })?;
    Ok((image, stream))
}
