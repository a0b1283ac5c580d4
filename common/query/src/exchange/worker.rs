//! The serving side: tasks of stages that this node runs for queries of others.
//!
//! datafusion-distributed's worker keeps the tasks; what a task reads, whom it may
//! ask and in which settings it runs comes from the call that placed it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use arrow_schema::{Schema, SchemaRef};
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::common::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::SessionState;
use datafusion_distributed::{
    DistributedExt, ExecuteTaskRequest, MaybeEncoded, ProducerHead, SetPlanRequest, WorkerQueryContext,
    WorkerSessionBuilder,
};
use datafusion_proto::protobuf;
use datafusion_proto::protobuf::partitioning::PartitionMethod;
use futures::channel::oneshot;
use futures::{FutureExt, StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message;
use varve_model::{Error, Result};

use super::Exchange;
use super::channel::{Link, Lost, Resolver, url};
use super::ticket::{COUNT_MAX, Place, Read, Ticket};
use crate::context::Sessions;
use crate::error::from_datafusion;
use crate::fragment::Codec;
use crate::operator::{BatchStream, Reader, RegionReader};

/// What a node lends to the tasks of one call.
#[derive(Clone, Debug)]
pub struct Host {
    /// Reads this node's regions.
    pub reader: Arc<dyn RegionReader>,
    /// Reaches the other nodes of the query.
    pub exchange: Arc<dyn Exchange>,
}

/// Runs tasks of stages. Cheap to clone; all clones know the same tasks.
#[derive(Clone)]
pub struct Worker {
    tasks: datafusion_distributed::Worker,
    seeds: Arc<Seeds>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("held", &self.held()).finish_non_exhaustive()
    }
}

/// Names the seed of a session: datafusion-distributed hands headers through, and nothing else.
const SEED: HeaderName = HeaderName::from_static("varve-seed");
/// Figures of operators are not sent back.
const COLLECT_METRICS: HeaderName =
    HeaderName::from_static("x-datafusion-distributed-config-distributed.collect_metrics");

impl Worker {
    /// A worker whose tasks run in these sessions.
    pub fn new(sessions: &Sessions) -> Self {
        let seeds = Arc::new(Seeds {
            sessions: sessions.clone(),
            waiting: Mutex::default(),
            next: AtomicU64::new(0),
            held: AtomicU64::new(0),
        });
        let runtime = Arc::clone(sessions.base().runtime_env());
        let tasks = datafusion_distributed::Worker::from_session_builder(Builder(Arc::clone(&seeds)));
        Self { tasks: tasks.with_runtime_env(runtime), seeds }
    }

    /// Tasks that queries hold here.
    pub fn held(&self) -> u64 {
        self.seeds.held.load(Ordering::Relaxed)
    }

    /// Answers a ticket: a stream without rows that holds a task for as long as it is read, or the rows of a
    /// partition of a task.
    ///
    /// Errors: `InvalidRequest` for bytes of another version or a plan that cannot be read; `Unavailable`
    /// when the task does not come within ten seconds; those of leaves come in the stream.
    pub async fn serve(&self, ticket: &Bytes, host: Host) -> Result<(SchemaRef, BatchStream)> {
        match Ticket::decode(ticket)? {
            Ticket::Place(place, plan) => self.place(place, plan, host).await,
            Ticket::Read(read, partitioning) => self.read(read, partitioning).await,
        }
    }

    async fn place(&self, place: Place, plan: Bytes, host: Host) -> Result<(SchemaRef, BatchStream)> {
        let (key, tasks) = (place.task.key(), place.tasks);
        let own = url(place.peers[key.task_number].node);
        let seed = self.seeds.plant(place, host);
        let mut headers = HeaderMap::new();
        headers.insert(SEED, HeaderValue::from(seed.number));
        headers.insert(COLLECT_METRICS, HeaderValue::from_static("false"));
        let request = SetPlanRequest {
            task_key: key,
            task_count: tasks,
            plan: MaybeEncoded::Encoded(plan.to_vec()),
            work_unit_feed_declarations: Vec::new(),
            target_worker_url: own,
            query_start_time_ns: 0,
        };
        // The task is forgotten when this stream ends, which is when the sender is dropped.
        let (alive, ended) = oneshot::channel::<()>();
        let orders = ended.into_stream().filter_map(|_| futures::future::ready(None)).boxed();
        let placed = self.tasks.coordinator_channel(headers, request, orders).await;
        drop(placed.map_err(from_datafusion)?);
        let held = Held { _alive: alive, seeds: Arc::clone(&self.seeds) };
        self.seeds.held.fetch_add(1, Ordering::Relaxed);
        let hold = stream::poll_fn(move |_| {
            let _held = &held;
            Poll::Pending
        });
        Ok((Arc::new(Schema::empty()), hold.boxed()))
    }

    async fn read(&self, read: Read, partitioning: Bytes) -> Result<(SchemaRef, BatchStream)> {
        let producer_head = if read.spreads {
            check(&partitioning)?;
            ProducerHead::RepartitionExec { partitioning: MaybeEncoded::Encoded(partitioning.to_vec()) }
        } else {
            ProducerHead::None
        };
        let request = ExecuteTaskRequest {
            task_key: read.task.key(),
            target_partition_start: read.partition,
            target_partition_end: read.partition + 1,
            producer_head,
        };
        let (mut streams, _) = self.tasks.execute_task(request).await.map_err(late_plan)?;
        let rows = streams.pop().ok_or_else(|| Error::internal("a task answered no partition"))?;
        let schema = rows.schema();
        Ok((schema, rows.map(|batch| batch.map_err(from_datafusion)).boxed()))
    }
}

/// Refuses a partitioning that would make more channels than any cluster needs.
fn check(partitioning: &Bytes) -> Result<()> {
    let read = protobuf::Partitioning::decode(partitioning.clone());
    let read = read.map_err(|error| Error::invalid("exchange: a partitioning cannot be read").with_source(error))?;
    match read.partition_method {
        Some(PartitionMethod::Hash(hash)) if (1..=COUNT_MAX as u64).contains(&hash.partition_count) => Ok(()),
        _ => Err(Error::invalid("exchange: a stage spreads its rows by hash, into a bounded number of partitions")),
    }
}

/// A task that never came is a node that was lost, whatever it is called on the way.
fn late_plan(error: DataFusionError) -> Error {
    if error.to_string().contains("waiting for the plan to be set") {
        return Error::unavailable("a part of the query did not arrive at its datanode").with_source(error);
    }
    from_datafusion(error)
}

/// Counts a task for as long as it is held.
struct Held {
    _alive: oneshot::Sender<()>,
    seeds: Arc<Seeds>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.seeds.held.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What sessions of tasks are made of, from the call that places a task to the session's making.
struct Seeds {
    sessions: Sessions,
    waiting: Mutex<BTreeMap<u64, (Place, Host)>>,
    next: AtomicU64,
    held: AtomicU64,
}

impl Seeds {
    fn plant(self: &Arc<Self>, place: Place, host: Host) -> Seed {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.waiting().insert(number, (place, host));
        Seed { number, seeds: Arc::clone(self) }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, (Place, Host)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes a seed that no session was made of.
struct Seed {
    number: u64,
    seeds: Arc<Seeds>,
}

impl Drop for Seed {
    fn drop(&mut self) {
        self.seeds.waiting().remove(&self.number);
    }
}

struct Builder(Arc<Seeds>);

#[async_trait]
impl WorkerSessionBuilder for Builder {
    async fn build_session_state(&self, mut context: WorkerQueryContext) -> DataFusionResult<SessionState> {
        let number = context.headers.get(SEED).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let seed = number.and_then(|number| self.0.waiting().remove(&number));
        let (place, host) = seed.ok_or_else(|| DataFusionError::Internal("a task without its call".into()))?;
        // What datafusion-distributed put there for its own operators, under our settings.
        let mut config = context.builder.config().take().unwrap_or_default();
        let ours = self.0.sessions.base().config().options();
        let options = config.options_mut();
        let extensions = std::mem::take(&mut options.extensions);
        options.clone_from(ours);
        options.extensions = extensions;
        options.execution.time_zone = Some(place.time_zone.clone());
        config.set_extension(Arc::new(Reader(host.reader)));
        let link =
            Link { exchange: host.exchange, peers: place.peers, time_zone: place.time_zone, lost: Lost::default() };
        config.set_distributed_channel_resolver(Resolver(Arc::new(link)));
        config.set_distributed_user_codec(Codec);
        let mut state = self.0.sessions.base().clone();
        *state.config_mut() = config;
        Ok(state)
    }
}
