//! What all our leaves share: rows that come from elsewhere, and no children.

use std::fmt;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties,
    ReplaceChildrenOptions, SendableRecordBatchStream, displayable,
};
use futures::TryStreamExt;
use futures::stream::BoxStream;

/// Rows of a partition as they come.
pub type Batches = BoxStream<'static, Result<RecordBatch>>;

/// Where a leaf's rows come from.
pub trait Rows: fmt::Debug + Send + Sync + Sized + 'static {
    /// The leaf's name in EXPLAIN.
    const NAME: &'static str;

    /// What EXPLAIN shows after the name, in one line.
    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;

    /// What runs elsewhere for this leaf; EXPLAIN shows it.
    fn remote(&self) -> Option<&Arc<dyn ExecutionPlan>> {
        None
    }

    /// The rows of one partition, which exists, in columns of this schema. Work begins with the first poll.
    fn read(&self, partition: usize, schema: &SchemaRef, context: &Arc<TaskContext>) -> Result<Batches>;

    /// Rows after which a partition ends.
    fn fetch(&self) -> Option<usize> {
        None
    }

    /// The same leaf with another limit; `None`: it knows no limits.
    fn with_fetch(&self, _limit: Option<usize>) -> Option<Leaf<Self>> {
        None
    }
}

/// A plan without children over [`Rows`].
#[derive(Debug)]
pub struct Leaf<R> {
    rows: R,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl<R: Rows> Leaf<R> {
    /// The leaf whose schema, partitions and order are those of `properties`.
    pub fn over(rows: R, properties: Arc<PlanProperties>) -> Self {
        Self { rows, properties, metrics: ExecutionPlanMetricsSet::new() }
    }

    /// Where its rows come from.
    pub fn rows(&self) -> &R {
        &self.rows
    }
}

impl<R: Rows> DisplayAs for Leaf<R> {
    fn fmt_as(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", R::NAME)?;
        self.rows.describe(f)?;
        match self.rows.remote() {
            Some(remote) if !matches!(kind, DisplayFormatType::TreeRender) => {
                let text = displayable(remote.as_ref()).indent(false).to_string();
                let lines = text.lines().map(str::trim).collect::<Vec<_>>();
                write!(f, " [{}]", lines.join(" <- "))
            }
            _ => Ok(()),
        }
    }
}

impl<R: Rows> ExecutionPlan for Leaf<R> {
    fn name(&self) -> &'static str {
        R::NAME
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

    fn fetch(&self) -> Option<usize> {
        self.rows.fetch()
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(Arc::new(self.rows.with_fetch(limit)?))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition >= self.properties.output_partitioning().partition_count() {
            return Err(DataFusionError::Internal(format!("{} has no partition {partition}", R::NAME)));
        }
        let schema = self.schema();
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let rows = self.rows.read(partition, &schema, &context)?;
        let rows = rows.inspect_ok(move |batch| metrics.record_output(batch.num_rows()));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
