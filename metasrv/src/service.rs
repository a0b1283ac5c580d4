//! `MetasrvApi` in process: the door of this package.
//!
//! [`Metasrv`] leads a store that one process holds alone; [`Member`] is one of
//! several processes that share a store.

use std::sync::Arc;

use async_trait::async_trait;
use varve_model::Result;
use varve_model::id::{ClusterId, FrontendId, NodeEpoch, TableId};
use varve_proto::call::Call;
use varve_proto::metasrv::{
    Answer, Answers, Beat, BeatReply, Inquiry, Messages, MetasrvApi, News, Outcome, Procedure, RegionReport,
    Registration, Session, Watcher,
};
use varve_service::clock::SharedClock;
use varve_service::task::TaskSet;

use crate::config::Config;
use crate::kv::KvStore;
use crate::leader::{self, Leadership};

mod member;
mod term;
#[cfg(test)]
mod tests;

pub use member::{Member, MemberSetup};
use term::Term;

/// Name of the leader of a store that one process holds.
const LEADER_NAME: &str = "metasrv";

/// The truth about catalog, routes and leases, in a store that this process holds alone.
#[derive(Debug)]
pub struct Metasrv {
    term: Term,
}

impl Metasrv {
    /// Takes the leadership of the store, makes what a fresh one needs, resumes what was left.
    ///
    /// Errors: `InvalidRequest` for bad settings, `Corrupt` for damaged records, `Unavailable`.
    pub async fn start(config: Config, kv: Arc<dyn KvStore>, clock: SharedClock, tasks: TaskSet) -> Result<Arc<Self>> {
        config.check()?;
        let records = leader::seize(kv, LEADER_NAME, clock.wall_nanos() / 1_000_000).await?;
        let term = Term::begin(config, records, Leadership::alone(), clock, tasks).await?;
        Ok(Arc::new(Self { term }))
    }

    /// The cluster's identity.
    pub fn cluster(&self) -> ClusterId {
        self.term.cluster()
    }
}

#[async_trait]
impl MetasrvApi for Metasrv {
    async fn register(&self, call: &Call, registration: Registration) -> Result<Session> {
        self.term.register(call, registration).await
    }

    async fn heartbeat(
        &self,
        call: &Call,
        session: NodeEpoch,
        beats: Messages<Beat>,
    ) -> Result<Messages<Result<BeatReply>>> {
        self.term.heartbeat(call, session, beats)
    }

    async fn watch(&self, call: &Call, watcher: Option<Watcher>) -> Result<Messages<Result<Arc<News>>>> {
        self.term.watch(call, watcher)
    }

    #[tracing::instrument(skip_all, fields(request = call.request_id, trace = call.traceparent))]
    async fn execute(&self, call: &Call, procedure: Procedure) -> Result<Outcome> {
        self.term.execute(call, procedure).await
    }

    async fn region_statistics(&self, call: &Call, table: Option<TableId>) -> Result<Vec<RegionReport>> {
        self.term.region_statistics(call, table)
    }

    async fn ask(&self, call: &Call, from: FrontendId, inquiry: Inquiry) -> Result<Answers> {
        self.term.ask(call, from, inquiry).await
    }

    async fn answer(&self, call: &Call, from: FrontendId, question: u64, answer: Answer) -> Result<()> {
        self.term.answer(call, from, question, answer)
    }
}
