//! The place in a plan where rows of several stages arrive.

use std::fmt;
use std::sync::{Arc, LazyLock};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::{SessionStateBuilder, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_distributed::{DistributedExt, RouteTasksEvent, RouteTasksEventResponse, SessionStateBuilderExt};
use futures::channel::oneshot;
use futures::future::{Either, select};
use futures::{FutureExt, Stream, StreamExt, TryStreamExt, stream};
use varve_model::Error;

use super::channel::{Link, Lost, Resolver, url};
use super::{Exchange, Peer};
use crate::context::Sessions;
use crate::error::into_datafusion;
use crate::fragment::Codec;
use crate::operator::{Batches, Leaf, Rows};

/// What a frontend lends to the plans of one query.
#[derive(Debug)]
pub struct Setting {
    /// Reaches the nodes.
    pub exchange: Arc<dyn Exchange>,
    /// How sessions are built here.
    pub sessions: Sessions,
    /// The zone of the session.
    pub time_zone: String,
}

/// A leaf of the frontend's plan: the last rows of stages that run on datanodes.
pub type ShuffleExec = Leaf<Stages>;

/// Stages that run on datanodes.
#[derive(Debug)]
pub struct Stages {
    /// Collects what the last stage answers, in one partition; boundaries mark the stages below.
    plan: Arc<dyn ExecutionPlan>,
    /// The nodes, in the order of the stages' tasks.
    peers: Vec<Peer>,
    setting: Arc<Setting>,
}

impl ShuffleExec {
    /// Precondition: the plan has one partition, and all its boundaries have one task per peer.
    pub(super) fn new(plan: Arc<dyn ExecutionPlan>, peers: Vec<Peer>, setting: Arc<Setting>) -> Self {
        let properties = Arc::clone(plan.properties());
        Self::over(Stages { plan, peers, setting }, properties)
    }
}

impl Stages {
    /// Places the tasks and starts to read; the receiver hears which node was lost first.
    fn run(
        &self,
        context: &TaskContext,
    ) -> Result<(impl Stream<Item = Result<RecordBatch>> + use<>, oneshot::Receiver<Error>)> {
        let (lost, heard) = Lost::watched();
        let link = Link {
            exchange: Arc::clone(&self.setting.exchange),
            peers: self.peers.clone(),
            time_zone: self.setting.time_zone.clone(),
            lost,
        };
        let nodes = self.peers.iter().map(|peer| url(peer.node)).collect::<Vec<_>>();
        let mut config = context.session_config().clone();
        config.set_distributed_channel_resolver(Resolver(Arc::new(link)));
        config.set_distributed_user_codec(Codec);
        config.set_distributed_metrics_collection(false)?;
        config.set_distributed_route_tasks_handler(move |_: RouteTasksEvent<'_>| {
            Some(Ok(RouteTasksEventResponse::new(nodes.clone())))
        });
        config.set_extension(Arc::new(Cut(Arc::clone(&self.plan))));
        let mut state = self.setting.sessions.base().clone();
        *state.config_mut() = config;
        let rows = async move {
            // Numbers the stages, anew for every execution: nodes know tasks by them.
            let plan = PLANNER.create_physical_plan(&LogicalPlan::default(), &state).await?;
            plan.execute(0, Arc::new(TaskContext::from(&state)))
        };
        Ok((stream::once(rows).try_flatten(), heard))
    }
}

/// The rows, or the loss of a node as soon as it is heard of.
fn unless_lost(
    rows: impl Stream<Item = Result<RecordBatch>> + Send + 'static,
    heard: oneshot::Receiver<Error>,
) -> impl Stream<Item = Result<RecordBatch>> + Send {
    // Without a sender nothing can be lost any more.
    let lost = heard.then(|lost| async move {
        match lost {
            Ok(error) => error,
            Err(_) => futures::future::pending().await,
        }
    });
    stream::unfold(Some((rows.boxed(), lost.boxed())), |state| async move {
        let (mut rows, lost) = state?;
        let first = select(lost, rows.next()).await;
        match first {
            Either::Left((error, _)) => Some((Err(into_datafusion(error)), None)),
            Either::Right((None, _)) => None,
            Either::Right((Some(Ok(batch)), lost)) => Some((Ok(batch), Some((rows, lost)))),
            // The loss is the cause, whatever other nodes say of its consequences.
            Either::Right((Some(Err(error)), lost)) => {
                let cause = lost.now_or_never().map_or(error, into_datafusion);
                Some((Err(cause), None))
            }
        }
    })
}

impl Rows for Stages {
    const NAME: &'static str = "ShuffleExec";

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nodes={}", self.peers.len())
    }

    fn remote(&self) -> Option<&Arc<dyn ExecutionPlan>> {
        Some(&self.plan)
    }

    fn read(&self, _: usize, _: &SchemaRef, context: &Arc<TaskContext>) -> Result<Batches> {
        let (rows, heard) = self.run(context)?;
        Ok(unless_lost(rows, heard).boxed())
    }
}

/// The plan that [`Given`] hands to datafusion-distributed.
struct Cut(Arc<dyn ExecutionPlan>);

/// datafusion-distributed takes over a plan only from a planner.
#[derive(Debug)]
struct Given;

#[async_trait]
impl QueryPlanner for Given {
    async fn create_physical_plan(&self, _: &LogicalPlan, session: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        let cut = session.config().get_extension::<Cut>();
        cut.map(|cut| Arc::clone(&cut.0)).ok_or_else(|| DataFusionError::Internal("no plan was given".into()))
    }
}

/// Its setup of a session would switch off the physical scalar subquery, without which a subquery of several
/// rows answers silently; so it gets a session of its own, and SQL is never planned in it.
static PLANNER: LazyLock<Arc<dyn QueryPlanner + Send + Sync>> = LazyLock::new(|| {
    let state = SessionStateBuilder::new().with_query_planner(Arc::new(Given)).with_distributed_planner().build();
    Arc::clone(state.query_planner())
});
