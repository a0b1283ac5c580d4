//! The place in a plan where rows cross from datanodes: one partition per fragment.

use std::fmt;
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use bytes::Bytes;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties};
use futures::{StreamExt, TryStreamExt, stream};
use varve_model::id::NodeId;
use varve_proto::datanode::ScanTicket;
use varve_query::error::into_datafusion;
use varve_query::operator::{Batches, Leaf, Rows};
use varve_service::telemetry::stage::{Stage, counted};

use super::distribute::Fleet;

/// A part of the plan that runs on one datanode.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) node: NodeId,
    pub(super) fragment: Bytes,
}

/// Parts of the plan that run on datanodes: a leaf that receives what they answer, one partition each.
#[derive(Debug)]
pub(super) struct Fragments {
    parts: Vec<Part>,
    fleet: Arc<Fleet>,
    /// What runs on the datanodes, for EXPLAIN.
    inner: Arc<dyn ExecutionPlan>,
}

impl Fragments {
    /// Stands for `inner`, which the parts carry out. Each part's rows have the order of `inner`'s partitions.
    pub(super) fn leaf(inner: Arc<dyn ExecutionPlan>, parts: Vec<Part>, fleet: Arc<Fleet>) -> Leaf<Self> {
        let orderings = inner.output_ordering().map(|ordering| ordering.iter().cloned().collect::<Vec<_>>());
        let properties = PlanProperties::new(
            EquivalenceProperties::new_with_orderings(inner.schema(), orderings),
            Partitioning::UnknownPartitioning(parts.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Leaf::over(Self { parts, fleet, inner }, Arc::new(properties))
    }
}

impl Rows for Fragments {
    const NAME: &'static str = "FragmentExec";

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fragments={}", self.parts.len())
    }

    fn remote(&self) -> Option<&Arc<dyn ExecutionPlan>> {
        Some(&self.inner)
    }

    fn read(&self, partition: usize, schema: &SchemaRef, _: &Arc<TaskContext>) -> Result<Batches> {
        let Part { node, fragment } = self.parts[partition].clone();
        let (fleet, schema) = (Arc::clone(&self.fleet), Arc::clone(schema));
        let receive = async move {
            let client = fleet.client(node).map_err(into_datafusion)?;
            let call = fleet.deadline().call();
            let reply = client.scan(&call, ScanTicket::Sql(fragment)).await.map_err(into_datafusion)?;
            let batches = reply.stream.map(move |batch| conform(&batch.map_err(into_datafusion)?, &schema));
            Ok::<_, DataFusionError>(counted(batches, Stage::Exchange))
        };
        Ok(stream::once(receive).try_flatten().boxed())
    }
}

/// The batch under the schema that was planned; bytes from a wire are not trusted.
fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), batch.columns().to_vec(), &options)?)
}
