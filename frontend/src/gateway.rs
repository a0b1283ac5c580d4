//! The frontend as the wires see it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tracing::Instrument;
use varve_model::budget::Account;
use varve_model::id::process::Cancel;
use varve_model::rows::Rows;
use varve_model::{Error, Result};
use varve_proto::datanode::RegionWrite;
use varve_proto::metasrv::MetasrvApi;
use varve_protocol::gateway::{Gateway, Prepared, Query, Written};
use varve_protocol::output::Output;
use varve_protocol::process::Processes;
use varve_protocol::session::Session;
use varve_query::context::Sessions;
use varve_service::clock::SharedClock;
use varve_service::task::TaskSet;

use crate::cluster::{Clients, Connect, Feed};
use crate::config::FrontendConfig;
use crate::deadline::Deadline;
use crate::ingest::{Dispatch, Resolver, split};
use crate::process::Peers;
use crate::statement::Conductor;

/// What a frontend is made of.
pub struct FrontendSetup {
    /// The truth about catalog and routes.
    pub metasrv: Arc<dyn MetasrvApi>,
    /// How datanodes are reached.
    pub connect: Connect,
    /// Time and randomness.
    pub clock: SharedClock,
    /// Where its tasks run; stopping the set stops the frontend.
    pub tasks: TaskSet,
    /// What its buffers and queries charge.
    pub memory: Account,
    /// Settings.
    pub config: FrontendConfig,
}

impl fmt::Debug for FrontendSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrontendSetup").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A running frontend: speaks, plans, routes, keeps no state.
#[derive(Debug)]
pub struct Frontend {
    feed: Arc<Feed>,
    clock: SharedClock,
    resolver: Resolver,
    dispatch: Dispatch,
    peers: Arc<Peers>,
    conductor: Conductor,
}

/// Starts a frontend; it follows metasrv from now on. Errors: settings that cannot be used.
pub fn start(setup: FrontendSetup) -> Result<Arc<Frontend>> {
    let FrontendSetup { metasrv, connect, clock, tasks, memory, config } = setup;
    let processes = Processes::new(clock.clone());
    let (feed, questions) = Feed::new(metasrv, clock.clone(), processes.clone());
    let feed = Arc::new(feed);
    tasks.spawn("catalog-watch", Arc::clone(&feed).follow(tasks.token().clone()));
    let peers = Arc::new(Peers::new(processes, Arc::clone(&feed)));
    tasks.spawn("peers", Arc::clone(&peers).answer(questions, tasks.token().clone()));
    let clients = Arc::new(Clients::new(connect));
    let queries = memory.child("queries", config.query_memory_bytes);
    let partitions = match config.query_partitions {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        partitions => partitions,
    };
    let sessions = Sessions::new(&queries, partitions)?;
    let resolver = Resolver::new(Arc::clone(&feed), clock.clone());
    let dispatch = Dispatch::new(Arc::clone(&feed), Arc::clone(&clients), memory);
    let conductor =
        Conductor::new(Arc::clone(&peers), clients, clock.clone(), sessions, dispatch.clone(), config.exchange);
    Ok(Arc::new(Frontend { feed, clock, resolver, dispatch, peers, conductor }))
}

impl Frontend {
    /// Returns once the first snapshot of the catalog is in: before it, every name is unknown.
    pub async fn ready(&self) {
        self.feed.ready().await;
    }

    /// Whether [`ready`](Self::ready) would return at once.
    pub fn is_ready(&self) -> bool {
        self.feed.is_ready()
    }

    #[cfg(test)]
    pub(crate) fn conductor(&self) -> &Conductor {
        &self.conductor
    }

    /// Errors: `Unavailable` before the catalog is known: "unknown database" would be a lie that nobody retries.
    fn check_ready(&self) -> Result<()> {
        if self.is_ready() {
            return Ok(());
        }
        Err(Error::unavailable("this frontend is starting and does not know the catalog yet"))
    }

    async fn store(&self, session: &Session, rows: Rows) -> Result<Written> {
        let deadline = Deadline::of(session, &self.clock);
        let resolved = self.resolver.resolve(session, rows, &deadline).await?;
        let mut writes = Vec::new();
        for rows in resolved.rows {
            writes.extend(split(rows)?.into_iter().map(RegionWrite::Insert));
        }
        let rows = self.dispatch.send(writes, &deadline).await?;
        Ok(Written { rows, refused: resolved.refused })
    }
}

#[async_trait]
impl Gateway for Frontend {
    async fn write(&self, session: &Session, rows: Rows) -> Result<Written> {
        self.check_ready()?;
        let span =
            tracing::info_span!("write", request = session.request_id, trace = session.traceparent, rows = rows.len());
        Box::pin(self.store(session, rows)).instrument(span).await
    }

    async fn prepare(&self, session: &Session, sql: &str) -> Result<Prepared> {
        self.check_ready()?;
        let span = tracing::info_span!("prepare", request = session.request_id, trace = session.traceparent);
        Box::pin(self.conductor.prepare(session, sql)).instrument(span).await
    }

    async fn run(&self, session: &Session, query: Query) -> Result<Vec<Output>> {
        self.check_ready()?;
        let span = tracing::info_span!("run", request = session.request_id, trace = session.traceparent);
        Box::pin(self.conductor.run(session, query)).instrument(span).await
    }

    async fn cancel(&self, cancel: Cancel) -> Result<()> {
        self.peers.cancel(cancel).await
    }

    fn processes(&self) -> &Processes {
        self.peers.own()
    }
}
