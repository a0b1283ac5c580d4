//! Readers amid everything: by routes they learnt once, slowly, while clients write.
//!
//! The judge reads alone and by the newest routes. These are what a frontend
//! with old routes and a slow client would show: invariants I1 to I4 while
//! rows come in, and I9 for files that only a reader still needs.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use varve_model::region::Route;
use varve_model::table::TableInfo;
use varve_model::{Error, ErrorKind, Result};
use varve_proto::call::Call;
use varve_proto::metasrv::MetasrvApi;

use super::Surroundings;
use super::network::Peer;
use crate::judge::history::{Freshness, History};
use crate::judge::read::{Located, appended, locate};

/// Longest that a reader lets a datanode wait before it takes the first rows.
const PACE_MAX: Duration = Duration::from_secs(12);
/// Longest read.
const PATIENCE: Duration = Duration::from_secs(40);

/// A reader.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) number: u64,
    pub(crate) around: Arc<Surroundings>,
    pub(crate) metasrv: Arc<dyn MetasrvApi>,
    pub(crate) history: Arc<Mutex<History>>,
    pub(crate) freshness: Freshness,
}

impl Reader {
    /// Reads until its task is dropped.
    pub(crate) async fn work(self) {
        let world = &self.around.world;
        let mut known: Option<Located> = None;
        loop {
            world.sleep_millis(50 + world.draw(1_500)).await;
            if known.is_none() {
                known = locate(&*self.metasrv, "a").await.ok().flatten();
            }
            let Some((table, routes)) = &known else { continue };
            let route = &routes[world.draw(routes.len() as u64) as usize];
            // Every other read is a quick one: its routes are older than what it shows.
            let pace = if world.draw(2) == 0 { PACE_MAX } else { Duration::ZERO };
            let read = tokio::time::timeout(PATIENCE, self.read(table, route, pace)).await;
            if !matches!(read, Ok(Ok(()))) {
                known = None;
            }
        }
    }

    /// Reads a region by a route, however old.
    pub(crate) async fn read_by(&self, route: &Route, pace: Duration) -> Result<()> {
        let located = locate(&*self.metasrv, "a").await?;
        let (table, _) = located.ok_or_else(|| Error::not_found("the append table is gone"))?;
        self.read(&table, route, pace).await
    }

    async fn read(&self, table: &TableInfo, route: &Route, pace: Duration) -> Result<()> {
        let expected = self.history.lock().expected(route.region.number());
        let datanode = self.around.datanode(Peer::Reader(self.number), route.node.0, pace)?;
        let read = appended(&*datanode, (table, route), &Call::system("reader", PATIENCE)).await;
        let rows = match read {
            Ok(rows) => rows,
            Err(error) => {
                self.judge_error(route, &error).await;
                return Err(error);
            }
        };
        let judged = self.history.lock().judge_region(&expected, &rows, self.freshness);
        if let Err(why) = judged {
            let head = self.around.watch.head(route.region).await.map(|head| head.region_epoch);
            let owner = head.map_or_else(|| "nobody's".to_owned(), |epoch| epoch.to_string());
            self.around.ledger.violated(format!(
                "{why} (epoch {} at node {}; the manifest's head is {owner})",
                route.epoch, route.node
            ));
        }
        Ok(())
    }

    /// I9: what a reader needs stays. Who was superseded cannot promise that: there files stay for a grace period.
    async fn judge_error(&self, route: &Route, error: &Error) {
        let is_gone = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound);
        let is_current =
            self.around.watch.head(route.region).await.is_some_and(|head| head.region_epoch == route.epoch);
        if is_gone && is_current {
            self.around.ledger.violated(format!("I9: a reader of region {} fails: {error}", route.region));
        }
    }
}
