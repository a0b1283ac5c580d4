//! A datanode as frontends see it: write, scan, describe.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::future::{BoxFuture, join_all};
use tokio::sync::watch;
use tracing::Instrument;
use varve_engine::{Engine, EngineOptions, EngineSetup, RegionDescription};
use varve_model::budget::Account;
use varve_model::id::{NodeId, RegionId};
use varve_model::{Error, ErrorKind, Result, ResultExt};
use varve_proto::call::Call;
use varve_proto::datanode::{
    BatchStream, DatanodeApi, DescribeRequest, Description, RegionWrite, ScanReply, ScanTicket, WriteAck, WriteReply,
    WriteRequest,
};
use varve_proto::metasrv::{MetasrvApi, Registration};
use varve_service::clock::SharedClock;
use varve_service::task::TaskSet;

use crate::config::DatanodeConfig;
use crate::heartbeat::Heart;
use crate::host::Host;
use crate::query::Queries;

mod storage;

pub use storage::Storage;

/// How long registering may take before it is tried again.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(10);

/// What a datanode is made of.
#[derive(Debug)]
pub struct DatanodeSetup {
    /// Settings.
    pub config: DatanodeConfig,
    /// The configured node.
    pub node: NodeId,
    /// Where frontends reach it.
    pub address: String,
    /// Catalog and leases.
    pub metasrv: Arc<dyn MetasrvApi>,
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

/// A running datanode.
#[derive(Debug)]
pub struct Datanode {
    host: Arc<Host>,
    queries: Queries,
    clock: SharedClock,
    ready: watch::Receiver<bool>,
}

/// Recovers the log, opens a session with metasrv and starts to beat.
///
/// Errors: the data directory is in use or damaged; metasrv knows another cluster.
pub async fn start(setup: DatanodeSetup) -> Result<Arc<Datanode>> {
    let DatanodeSetup { config, node, address, metasrv, storage, clock, tasks, memory, queries } = setup;
    let options: EngineOptions = storage.tuned(config.engine());
    let engine_setup = EngineSetup {
        store: storage.bucket,
        log: storage.disk.into(),
        clock: clock.clone(),
        tasks: tasks.clone(),
        memory,
        options,
    };
    let prepared = Engine::prepare(engine_setup).await?;
    let registration = Registration {
        node,
        cluster: prepared.cluster(),
        address,
        volume: prepared.volume(),
        seen_epoch: prepared.seen_epoch(),
    };
    let call = Call::system("register", REGISTER_TIMEOUT);
    let session = metasrv.register(&call, registration).await.context(|| "register with metasrv")?;
    let engine = prepared.start(session.cluster, session.epoch).await.context(|| "recover the log")?;
    let host = Arc::new(Host::new(engine));
    let (ready, is_ready) = watch::channel(false);
    let heart = Heart { metasrv, session, host: Arc::clone(&host), clock: clock.clone(), tasks: tasks.clone(), ready };
    tasks.spawn("heartbeat", heart.beat());
    let partitions = match config.query_partitions {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        partitions => partitions,
    };
    let regions = {
        let host = Arc::clone(&host);
        Arc::new(move |region: RegionId| host.region(region))
    };
    let queries = Queries::new(regions, &queries, partitions, tasks)?;
    Ok(Arc::new(Datanode { host, queries, clock, ready: is_ready }))
}

impl Datanode {
    /// Returns once metasrv knows the session and the regions it granted are open or damaged.
    /// Errors: `Unavailable` when the datanode stopped before.
    pub async fn ready(&self) -> Result<()> {
        let mut ready = self.ready.clone();
        let seen = ready.wait_for(|ready| *ready).await.map(|_| ());
        seen.map_err(|_| Error::unavailable("the datanode stopped before it was ready"))
    }

    /// Answers what was asked, then closes regions and log: everything acknowledged stays.
    /// Errors: `Unavailable`; the log is then replayed at the next start.
    pub async fn stop(&self) -> Result<()> {
        self.host.stop().await
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
        let span = tracing::debug_span!("write", request = call.request_id);
        // Each part has its own deadline, so that one slow region does not hide the outcome of the others.
        let parts = request.writes.into_iter().map(|write| self.within(call, self.write_one(write)));
        Ok(WriteReply { parts: join_all(parts).instrument(span).await })
    }

    async fn scan(&self, call: &Call, ticket: ScanTicket) -> Result<ScanReply> {
        let end = self.clock.boot() + call.timeout;
        let reply = match ticket {
            ScanTicket::Region(spec) => self.within(call, self.queries.region(&spec)).await?,
            ScanTicket::Sql(fragment) => self.within(call, self.queries.fragment(call, fragment)).await?,
        };
        let left = self.clock.sleep(end.saturating_sub(self.clock.boot()));
        Ok(ScanReply { schema: reply.schema, stream: until(reply.stream, left, call.timeout) })
    }

    async fn describe(&self, call: &Call, request: DescribeRequest) -> Result<Description> {
        let span = tracing::debug_span!("describe", request = call.request_id);
        let _entered = span.enter();
        let region = self.host.region(request.region)?;
        Ok(match region.describe(request.epoch, &request.spec)? {
            RegionDescription::TagValues(values) => Description::TagValues(values),
            RegionDescription::Series(keys) => Description::Series(keys),
            RegionDescription::Statistics(statistics) => Description::Statistics(statistics),
        })
    }
}
