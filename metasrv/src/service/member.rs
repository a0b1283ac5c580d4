//! One of several metasrvs: stands for election, leads for a term, follows otherwise.
//!
//! A follower does nothing but name the leader. A term is a set of tasks of its
//! own: when the leadership is lost its streams end and its work stops, and the
//! member is a follower again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::RwLock;
use varve_model::Result;
use varve_model::id::{FrontendId, NodeEpoch, TableId};
use varve_proto::call::Call;
use varve_proto::metasrv::{
    Answer, Answers, Beat, BeatReply, Inquiry, Messages, MetasrvApi, News, Outcome, Procedure, RegionReport,
    Registration, Session, Watcher, not_leader,
};
use varve_service::clock::SharedClock;
use varve_service::task::TaskSet;

use super::Term;
use crate::config::Config;
use crate::kv::KvStore;
use crate::kv::key::LeaderRecord;
use crate::leader::{Candidate, Won};

/// Pause before the next election after a failure.
const FAILURE_PAUSE: Duration = Duration::from_millis(500);
/// How long the streams of a term that ends have to say so.
const FAREWELL: Duration = Duration::from_millis(100);

/// What a member is made of.
#[derive(Debug)]
pub struct MemberSetup {
    /// Settings.
    pub config: Config,
    /// Its name, unique among the members; shown to people.
    pub name: String,
    /// `host:port` where the other roles reach it: what followers name when it leads.
    pub address: String,
    /// The store that all members share.
    pub kv: Arc<dyn KvStore>,
    /// Time and randomness.
    pub clock: SharedClock,
    /// Where its tasks run; stopping the set lets another lead.
    pub tasks: TaskSet,
}

/// One of several metasrvs. It answers as the leader, or names it.
#[derive(Debug)]
pub struct Member {
    config: Config,
    candidate: Candidate,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    term: Option<Arc<Term>>,
    leader: Option<LeaderRecord>,
}

impl Member {
    /// Starts to stand for election; returns at once. Errors: `InvalidRequest` for bad settings.
    pub fn start(setup: MemberSetup) -> Result<Arc<Self>> {
        let MemberSetup { config, name, address, kv, clock, tasks } = setup;
        config.check()?;
        let candidate = Candidate { kv, clock, name, address, lease: config.leader_lease() };
        let member = Arc::new(Self { config, candidate, state: RwLock::default() });
        let running = Arc::clone(&member);
        tasks.clone().spawn("metasrv member", async move { running.run(&tasks).await });
        Ok(member)
    }

    /// Whether it leads, as far as it knows.
    pub fn is_leader(&self) -> bool {
        let now = self.candidate.clock.boot();
        self.state.read().term.as_ref().is_some_and(|term| term.leads(now))
    }

    /// Name and address of the leader it knows.
    pub fn leader(&self) -> Option<(String, String)> {
        self.state.read().leader.as_ref().map(|leader| (leader.name.clone(), leader.address.clone()))
    }

    async fn run(&self, tasks: &TaskSet) {
        let token = tasks.token().clone();
        while !token.is_cancelled() {
            let elected = tokio::select! {
                elected = self.elect() => elected,
                () = token.cancelled() => return,
            };
            let ended = match elected {
                Ok(Some(won)) => self.lead(won, tasks).await,
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            let Err(error) = ended else { continue };
            tracing::warn!(name = self.candidate.name, %error, "metasrv cannot lead or follow and tries again");
            tokio::select! {
                () = self.candidate.clock.sleep(FAILURE_PAUSE) => {}
                () = token.cancelled() => return,
            }
        }
    }

    /// Follows until nobody leads, then tries to.
    async fn elect(&self) -> Result<Option<Won>> {
        self.candidate.follow(|leader| self.state.write().leader = leader).await?;
        self.candidate.campaign().await
    }

    /// Leads until the leadership is lost or the process stops. Errors: the term could not begin.
    async fn lead(&self, won: Won, tasks: &TaskSet) -> Result<()> {
        let Candidate { clock, name, .. } = &self.candidate;
        let own = tasks.child();
        let (config, leadership) = (self.config.clone(), Arc::clone(&won.leadership));
        let beginning = Term::begin(config, won.records.clone(), leadership, Arc::clone(clock), own.clone());
        let mut lost = std::pin::pin!(async {
            tokio::select! {
                () = self.candidate.keep(&won) => {}
                () = tasks.token().cancelled() => {}
            }
        });
        let begun = tokio::select! {
            begun = beginning => begun.map(Some),
            () = &mut lost => Ok(None),
        };
        let ended = begun.map(|term| term.map(Arc::new));
        if let Ok(Some(term)) = &ended {
            tracing::info!(name, cluster = %term.cluster(), "this metasrv leads");
            self.state.write().term = Some(Arc::clone(term));
            lost.await;
        }
        *self.state.write() = State::default();
        // From here on nothing is answered, whatever its tasks still do.
        won.leadership.end();
        own.token().cancel();
        clock.sleep(FAREWELL).await;
        own.kill();
        self.candidate.resign(&won).await;
        ended.map(drop)
    }

    /// The term, if it leads. Errors: [`not_leader`].
    fn term(&self) -> Result<Arc<Term>> {
        let state = self.state.read();
        if let Some(term) = &state.term {
            return Ok(Arc::clone(term));
        }
        // A leader whose term is only beginning would send callers round in a circle.
        let address = state.leader.as_ref().map(|leader| leader.address.as_str());
        Err(not_leader(address.filter(|address| !address.is_empty() && *address != self.candidate.address)))
    }
}

#[async_trait]
impl MetasrvApi for Member {
    async fn register(&self, call: &Call, registration: Registration) -> Result<Session> {
        call.check()?;
        self.term()?.register(call, registration).await
    }

    async fn heartbeat(
        &self,
        call: &Call,
        session: NodeEpoch,
        beats: Messages<Beat>,
    ) -> Result<Messages<Result<BeatReply>>> {
        call.check()?;
        self.term()?.heartbeat(call, session, beats)
    }

    async fn watch(&self, call: &Call, watcher: Option<Watcher>) -> Result<Messages<Result<Arc<News>>>> {
        call.check()?;
        self.term()?.watch(call, watcher)
    }

    #[tracing::instrument(skip_all, fields(request = call.request_id, trace = call.traceparent))]
    async fn execute(&self, call: &Call, procedure: Procedure) -> Result<Outcome> {
        call.check()?;
        self.term()?.execute(call, procedure).await
    }

    async fn region_statistics(&self, call: &Call, table: Option<TableId>) -> Result<Vec<RegionReport>> {
        call.check()?;
        self.term()?.region_statistics(call, table)
    }

    async fn ask(&self, call: &Call, from: FrontendId, inquiry: Inquiry) -> Result<Answers> {
        call.check()?;
        self.term()?.ask(call, from, inquiry).await
    }

    async fn answer(&self, call: &Call, from: FrontendId, question: u64, answer: Answer) -> Result<()> {
        call.check()?;
        self.term()?.answer(call, from, question, answer)
    }
}
