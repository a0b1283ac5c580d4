//! datafusion-distributed's transport, over our [`Exchange`].
//!
//! One call holds a task on a node for as long as the query lives, and one call
//! carries each partition. A partition of its own gives each reader its own flow
//! control: a reader that waits for another partition blocks nobody, and nothing
//! is buffered beyond the connection's windows.

use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion_distributed::{
    ChannelResolver, CoordinatorToWorkerMsg, ExecuteTaskRequest, GetWorkerInfoRequest, GetWorkerInfoResponse,
    ProducerHead, SetPlanRequest, WorkerChannel, WorkerToCoordinatorMsg,
};
use futures::channel::oneshot;
use futures::future::{Either, select, try_join_all};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, stream};
use http::HeaderMap;
use std::sync::{Mutex, PoisonError};
use url::Url;
use varve_model::Error;
use varve_model::id::NodeId;

use super::ticket::{Place, Read, Task, Ticket};
use super::{Exchange, Peer};
use crate::error::{copy, into_datafusion};

/// A query's connections as one of its nodes has them.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) exchange: Arc<dyn Exchange>,
    /// All nodes of the query.
    pub(super) peers: Vec<Peer>,
    pub(super) time_zone: String,
    /// Told when a node is lost or refuses its task; only the frontend listens.
    pub(super) lost: Lost,
}

/// The first failure of a query's tasks.
///
/// datafusion-distributed reports a lost task when all rows are read; nodes that
/// wait for it would say something less true before, so the cause goes around it.
#[derive(Debug, Default)]
pub(super) struct Lost(Mutex<Option<oneshot::Sender<Error>>>);

impl Lost {
    /// The end that hears of the failure, or of none when it is dropped.
    pub(super) fn watched() -> (Self, oneshot::Receiver<Error>) {
        let (sender, receiver) = oneshot::channel();
        (Self(Mutex::new(Some(sender))), receiver)
    }

    fn tell(&self, error: &Error) {
        if let Some(sender) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Nobody hears it when the query has ended already.
            drop(sender.send(copy(error)));
        }
    }
}

/// The name of a node in datafusion-distributed's plans.
pub(super) fn url(node: NodeId) -> Url {
    format!("node://{}", node.0).parse().expect("a number is a host")
}

fn node(url: &Url) -> Result<NodeId> {
    let number = url.host_str().and_then(|host| host.parse().ok());
    number.map(NodeId).ok_or_else(|| DataFusionError::Internal(format!("'{url}' names no node")))
}

/// Finds the nodes of one query.
pub(super) struct Resolver(pub(super) Arc<Link>);

#[async_trait]
impl ChannelResolver for Resolver {
    async fn get_worker_client_for_url(&self, url: &Url) -> Result<Box<dyn WorkerChannel>> {
        let node = node(url)?;
        let peer = self.0.peers.iter().find(|peer| peer.node == node);
        let peer = peer.ok_or_else(|| DataFusionError::Internal(format!("node {node} is not in this query")))?;
        Ok(Box::new(Channel { link: Arc::clone(&self.0), peer: peer.clone() }))
    }
}

struct Channel {
    link: Arc<Link>,
    peer: Peer,
}

impl Channel {
    async fn place(&self, request: SetPlanRequest, context: &Arc<TaskContext>) -> Result<crate::operator::BatchStream> {
        if !request.work_unit_feed_declarations.is_empty() {
            return Err(DataFusionError::Internal("a stage with work units is none of ours".into()));
        }
        let place = Place {
            task: Task::new(request.task_key),
            tasks: request.task_count,
            peers: self.link.peers.clone(),
            time_zone: self.link.time_zone.clone(),
        };
        let plan = Bytes::from(request.plan.encode(context)?);
        let ticket = Ticket::Place(place, plan).encode().map_err(into_datafusion)?;
        self.link.exchange.open(&self.peer, ticket).await.map_err(into_datafusion)
    }
}

#[async_trait]
impl WorkerChannel for Channel {
    /// Gives the node its task and holds it until `orders` ends, which is when the query does.
    async fn coordinator_channel(
        &mut self,
        _: HeaderMap,
        request: SetPlanRequest,
        mut orders: BoxStream<'static, CoordinatorToWorkerMsg>,
        _: ExecutionPlanMetricsSet,
        context: &Arc<TaskContext>,
    ) -> Result<BoxStream<'static, Result<WorkerToCoordinatorMsg>>> {
        let link = Arc::clone(&self.link);
        let node = self.peer.node;
        let mut held = match self.place(request, context).await {
            Ok(held) => held,
            Err(error) => {
                let error = crate::error::from_datafusion(error);
                link.lost.tell(&error);
                return Err(into_datafusion(error));
            }
        };
        let watch = async move {
            let over = async { while orders.next().await.is_some() {} };
            let broken = async {
                loop {
                    match held.next().await {
                        Some(Ok(_)) => {}
                        Some(Err(error)) => return error,
                        None => return Error::unavailable(format!("datanode {node} gave up its part of the query")),
                    }
                }
            };
            match select(std::pin::pin!(over), std::pin::pin!(broken)).await {
                Either::Left(_) => None,
                Either::Right((error, _)) => {
                    link.lost.tell(&error);
                    Some(Err(into_datafusion(error)))
                }
            }
        };
        Ok(stream::once(watch.boxed()).filter_map(futures::future::ready).boxed())
    }

    /// Opens a call per partition at once: a partition that nobody asks for would pile up at its sender.
    async fn execute_task(
        &mut self,
        _: HeaderMap,
        request: ExecuteTaskRequest,
        _: ExecutionPlanMetricsSet,
        context: &Arc<TaskContext>,
    ) -> Result<Vec<BoxStream<'static, Result<RecordBatch>>>> {
        let (spreads, body) = match request.producer_head {
            ProducerHead::None => (false, Bytes::new()),
            ProducerHead::RepartitionExec { partitioning } => (true, Bytes::from(partitioning.encode(context)?)),
            ProducerHead::BroadcastExec { .. } => {
                return Err(DataFusionError::Internal("a stage that broadcasts is none of ours".into()));
            }
        };
        let task = Task::new(request.task_key);
        let (exchange, peer) = (&self.link.exchange, &self.peer);
        let opened = (request.target_partition_start..request.target_partition_end).map(|partition| {
            let ticket = Ticket::Read(Read { task, partition, spreads }, body.clone());
            async move {
                let ticket = ticket.encode().map_err(into_datafusion)?;
                let rows = exchange.open(peer, ticket).await.map_err(into_datafusion)?;
                Ok::<_, DataFusionError>(rows.map(|batch| batch.map_err(into_datafusion)).boxed())
            }
        });
        try_join_all(opened).await
    }

    async fn get_worker_info(&mut self, _: GetWorkerInfoRequest) -> Result<GetWorkerInfoResponse> {
        // Versions are checked by every ticket.
        Ok(GetWorkerInfoResponse { version: String::new() })
    }
}
