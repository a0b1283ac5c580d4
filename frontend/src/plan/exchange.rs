//! The place in a plan where rows cross from datanodes: one partition per fragment.

use std::fmt;
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use bytes::Bytes;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    PhysicalExpr, PlanProperties, ReplaceChildrenOptions, SendableRecordBatchStream, displayable,
};
use futures::{StreamExt, TryStreamExt, stream};
use varve_model::id::NodeId;
use varve_proto::datanode::ScanTicket;
use varve_query::error::into_datafusion;
use varve_service::telemetry::stage::{Stage, count};

use super::distribute::Fleet;

/// A part of the plan that runs on one datanode.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) node: NodeId,
    pub(super) fragment: Bytes,
}

/// A leaf that receives what fragments answer.
#[derive(Debug)]
pub(super) struct FragmentExec {
    parts: Vec<Part>,
    fleet: Arc<Fleet>,
    /// What runs on the datanodes, for EXPLAIN.
    inner: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl FragmentExec {
    /// Stands for `inner`, which the parts carry out. Each part's rows have the order of `inner`'s partitions.
    pub(super) fn new(inner: Arc<dyn ExecutionPlan>, parts: Vec<Part>, fleet: Arc<Fleet>) -> Self {
        let orderings = inner.output_ordering().map(|ordering| ordering.iter().cloned().collect::<Vec<_>>());
        let equivalences = EquivalenceProperties::new_with_orderings(inner.schema(), orderings);
        let properties = PlanProperties::new(
            equivalences,
            Partitioning::UnknownPartitioning(parts.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { parts, fleet, inner, properties: Arc::new(properties), metrics: ExecutionPlanMetricsSet::new() }
    }
}

impl DisplayAs for FragmentExec {
    fn fmt_as(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FragmentExec: fragments={}", self.parts.len())?;
        if matches!(kind, DisplayFormatType::TreeRender) {
            return Ok(());
        }
        let inner = displayable(self.inner.as_ref()).indent(false).to_string();
        let lines = inner.lines().map(|line| line.trim_end().replacen("  ", "..", line.len() / 2));
        let shown = lines.map(|line| line.replace("..", "  ")).collect::<Vec<_>>();
        write!(f, " [{}]", shown.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" <- "))
    }
}

impl ExecutionPlan for FragmentExec {
    fn name(&self) -> &'static str {
        "FragmentExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(Part { node, fragment }) = self.parts.get(partition).cloned() else {
            return Err(DataFusionError::Internal(format!("FragmentExec has no partition {partition}")));
        };
        let schema = self.schema();
        let fleet = Arc::clone(&self.fleet);
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let expected = Arc::clone(&schema);
        let receive = async move {
            let client = fleet.client(node).map_err(into_datafusion)?;
            let call = fleet.deadline().call();
            let reply = client.scan(&call, ScanTicket::Sql(fragment)).await.map_err(into_datafusion)?;
            let batches = reply.stream.map(move |batch| {
                let batch = conform(&batch.map_err(into_datafusion)?, &expected)?;
                count(Stage::Exchange, batch.num_rows(), batch.get_array_memory_size());
                metrics.record_output(batch.num_rows());
                Ok(batch)
            });
            Ok::<_, DataFusionError>(batches)
        };
        let rows = stream::once(receive).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// The batch under the schema that was planned; bytes from a wire are not trusted.
fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), batch.columns().to_vec(), &options)?)
}
