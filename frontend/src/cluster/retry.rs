//! The one loop that answers a stale route: refresh, then do the work again.
//!
//! Bounded, and only for work that has had no effect: a write part that was
//! refused, a read that has sent no row.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use varve_model::{ErrorKind, Result};

use super::view::View;
use super::watch::Feed;

/// How often the work is done at most.
const ATTEMPTS: u32 = 4;
/// How long the first refresh waits for news; doubled each time.
const PATIENCE: Duration = Duration::from_millis(100);

/// Does the work under the current routes, and again under newer ones while it answers `StaleRoute`.
pub(crate) async fn with_routes<T, F>(feed: &Feed, mut work: impl FnMut(Arc<View>) -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut view = feed.view();
    let mut patience = PATIENCE;
    for attempt in 1.. {
        match work(Arc::clone(&view)).await {
            Err(error) if error.kind() == ErrorKind::StaleRoute && attempt < ATTEMPTS => {
                tracing::debug!(%error, attempt, "stale route, refreshing");
                view = feed.newer_than(view.revision, patience).await;
                patience *= 2;
            }
            outcome => return outcome,
        }
    }
    unreachable!("the last attempt returns its outcome")
}
