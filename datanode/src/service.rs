//! A datanode as frontends see it: write, scan, describe.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::future::{BoxFuture, join_all};
use tokio::sync::watch;
use tracing::Instrument;
use varve_engine::wal::object::OnFenced;
use varve_engine::wal::object::session::EpochUsed;
use varve_engine::{Engine, EngineOptions, EngineSetup, Log, RegionDescription};
use varve_model::budget::Account;
use varve_model::id::{NodeId, RegionId};
use varve_model::{Error, ErrorKind, Result, ResultExt};
use varve_proto::call::Call;
use varve_proto::datanode::{
    BatchStream, Connect, DatanodeApi, DescribeRequest, Description, RegionWrite, ScanReply, ScanTicket, WriteAck,
    WriteReply, WriteRequest,
};
use varve_proto::metasrv::{Life, MetasrvApi, Registration, Session};
use varve_service::clock::SharedClock;
use varve_service::task::TaskSet;
use varve_service::telemetry::requests::{self, Verb};
use varve_service::telemetry::running::{Running, Work};

use crate::config::DatanodeConfig;
use crate::heartbeat::{End, Heart};
use crate::host::Host;
use crate::query::{Peers, Queries};

mod storage;

pub use storage::Storage;

/// How long registering may take.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a session is begun anew because its epoch was used before: metadata that came from an old backup.
const EPOCHS_MAX: usize = 8;
/// How long a stop waits for metasrv to know that this process is gone.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a datanode is made of.
pub struct DatanodeSetup {
    /// Settings.
    pub config: DatanodeConfig,
    /// The configured node.
    pub node: NodeId,
    /// Where frontends reach it.
    pub address: String,
    /// Catalog and leases.
    pub metasrv: Arc<dyn MetasrvApi>,
    /// How the other datanodes of a query are reached.
    pub connect: Connect,
    /// Bucket and log.
    pub storage: Storage,
    /// Time and randomness.
    pub clock: SharedClock,
    /// Where its tasks run; stopping the set stops the datanode.
    pub tasks: TaskSet,
    /// What memtables charge.
    pub memory: Account,
    /// What queries charge.
    pub queries: Account,
}

impl fmt::Debug for DatanodeSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatanodeSetup").field("node", &self.node).field("config", &self.config).finish_non_exhaustive()
    }
}

/// A running datanode.
#[derive(Debug)]
pub struct Datanode {
    host: Arc<Host>,
    queries: Queries,
    clock: SharedClock,
    ready: watch::Receiver<bool>,
    told: watch::Receiver<Life>,
    ended: End,
    /// Whether others may take over as soon as the log is sealed.
    is_log_shared: bool,
}

/// Recovers the log, opens a session with metasrv and starts to beat.
///
/// Errors: the data directory is in use or damaged; metasrv knows another cluster.
pub async fn start(setup: DatanodeSetup) -> Result<Arc<Datanode>> {
    let DatanodeSetup { config, node, address, metasrv, connect, storage, clock, tasks, memory, queries } = setup;
    let ended = End::new();
    let mut options: EngineOptions = storage.tuned(config.engine());
    let end = ended.clone();
    options.object.on_fenced = OnFenced(Arc::new(move |why| end.tell(why)));
    let engine_setup = EngineSetup {
        store: storage.bucket,
        log: storage.log,
        clock: clock.clone(),
        tasks: tasks.clone(),
        memory,
        options,
    };
    let is_log_shared = matches!(engine_setup.log, Log::Object);
    let (engine, session) = begin(&engine_setup, &*metasrv, (node, address)).await?;
    let host = Arc::new(Host::new(engine));
    let (ready, is_ready) = watch::channel(false);
    let (tell, told) = watch::channel(Life::Serving);
    let heart = Heart {
        metasrv,
        session,
        host: Arc::clone(&host),
        clock: clock.clone(),
        tasks: tasks.clone(),
        ready,
        told: tell,
        ended: ended.clone(),
    };
    tasks.spawn("heartbeat", heart.beat());
    let partitions = match config.query_partitions {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        partitions => partitions,
    };
    let regions = {
        let host = Arc::clone(&host);
        Arc::new(move |region: RegionId| host.region(region))
    };
    let peers = Peers::new(connect, clock.clone());
    let queries = Queries::new(regions, &queries, partitions, tasks, peers)?;
    Ok(Arc::new(Datanode { host, queries, clock, ready: is_ready, told, ended, is_log_shared }))
}

/// Registers and begins a session; again when the bucket knows its epoch already. Errors: as `start`.
async fn begin(
    setup: &EngineSetup,
    metasrv: &dyn MetasrvApi,
    (node, address): (NodeId, String),
) -> Result<(Engine, Session)> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let prepared = Engine::prepare(setup.clone()).await?;
        let registration = Registration {
            node,
            cluster: prepared.cluster(),
            address: address.clone(),
            volume: prepared.volume(),
            seen_epoch: prepared.seen_epoch(),
        };
        let call = Call::system("register", REGISTER_TIMEOUT);
        let session = metasrv.register(&call, registration).await.context(|| "register with metasrv")?;
        match prepared.start(session.cluster, session.epoch).await {
            Ok(engine) => return Ok((engine, session)),
            Err(error) if EpochUsed::of(&error).is_some() && attempt < EPOCHS_MAX => {
                tracing::warn!(%error, "metasrv gave an epoch that the bucket knows: registering again");
            }
            Err(error) => return Err(error.context("recover the log")),
        }
    }
}

impl Datanode {
    /// Returns once metasrv knows the session and the regions it granted are open or damaged.
    /// Errors: `Unavailable` when the datanode stopped before.
    pub async fn ready(&self) -> Result<()> {
        let mut ready = self.ready.clone();
        let seen = ready.wait_for(|ready| *ready).await.map(|_| ());
        seen.map_err(|_| Error::unavailable("the datanode stopped before it was ready"))
    }

    /// Resolves when the session is over, with the reason: nothing is acknowledged any more, start a new one.
    pub async fn ended(&self) -> String {
        self.ended.wait().await
    }

    /// Answers what was asked, then closes regions and log: everything acknowledged stays.
    /// Errors: `Unavailable`; the log is then replayed at the next start.
    pub async fn stop(&self) -> Result<()> {
        self.host.stop().await?;
        if self.is_log_shared {
            let mut told = self.told.clone();
            tokio::select! {
                _ = told.wait_for(|life| *life == Life::Sealed) => {}
                // Then the lease ends by itself.
                () = self.clock.sleep(LEAVE_TIMEOUT) => {}
            }
        }
        Ok(())
    }

    async fn write_one(&self, write: RegionWrite) -> Result<WriteAck> {
        let region = self.host.region(write.region())?;
        let ack = match write {
            RegionWrite::Insert(batch) => region.write(batch).await?,
            RegionWrite::Delete(delete) => region.delete(delete.epoch, delete.matchers, delete.time).await?,
        };
        Ok(WriteAck { sequence: ack.sequence, rows: ack.rows })
    }

    /// Runs `work` for as long as the caller has time.
    async fn within<T>(&self, call: &Call, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            outcome = work => outcome,
            () = self.clock.sleep(call.timeout) => Err(late(call.timeout)),
        }
    }
}

fn late(timeout: Duration) -> Error {
    Error::new(ErrorKind::Timeout, format!("the datanode did not answer within {timeout:?}"))
}

/// The stream, ended by an error when the caller's time is over: never silently short.
fn until(stream: BatchStream, end: BoxFuture<'static, ()>, timeout: Duration) -> BatchStream {
    let state = Some((stream, end));
    Box::pin(futures::stream::unfold(state, move |state| async move {
        let (mut stream, mut end) = state?;
        tokio::select! {
            batch = stream.next() => batch.map(|batch| (batch, Some((stream, end)))),
            () = &mut end => Some((Err(late(timeout)), None)),
        }
    }))
}

#[async_trait]
impl DatanodeApi for Datanode {
    async fn write(&self, call: &Call, request: WriteRequest) -> Result<WriteReply> {
        requests::count(Verb::Write);
        let span = tracing::info_span!("write", request = call.request_id, trace = call.traceparent);
        // Each part has its own deadline, so that one slow region does not hide the outcome of the others.
        let parts = request.writes.into_iter().map(|write| self.within(call, self.write_one(write)));
        Ok(WriteReply { parts: join_all(parts).instrument(span).await })
    }

    async fn scan(&self, call: &Call, ticket: ScanTicket) -> Result<ScanReply> {
        requests::count(Verb::Scan);
        let running = Running::begin(Work::Scan);
        let end = self.clock.boot() + call.timeout;
        let reply = match ticket {
            ScanTicket::Region(spec) => self.within(call, self.queries.region(call, &spec)).await?,
            ScanTicket::Sql(fragment) => self.within(call, self.queries.fragment(call, fragment)).await?,
            ScanTicket::Exchange(ticket) => self.within(call, self.queries.exchange(call, ticket)).await?,
        };
        let left = self.clock.sleep(end.saturating_sub(self.clock.boot()));
        let stream = until(reply.stream, left, call.timeout).inspect(move |_| {
            let _while_it_lives = &running;
        });
        Ok(ScanReply { schema: reply.schema, stream: Box::pin(stream) })
    }

    async fn describe(&self, call: &Call, request: DescribeRequest) -> Result<Description> {
        requests::count(Verb::Describe);
        let span = tracing::info_span!("describe", request = call.request_id, trace = call.traceparent);
        let _entered = span.enter();
        let region = self.host.region(request.region)?;
        Ok(match region.describe(request.epoch, &request.spec)? {
            RegionDescription::TagValues(values) => Description::TagValues(values),
            RegionDescription::Series(keys) => Description::Series(keys),
            RegionDescription::Statistics(statistics) => Description::Statistics(statistics),
        })
    }
}
