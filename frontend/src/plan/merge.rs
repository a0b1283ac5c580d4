//! Runs the top plan and hands out its rows, up to a deadline.

use std::sync::Arc;

use arrow_array::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::{StreamExt, stream};
use varve_model::Result;
use varve_protocol::output::{Output, RowStream};
use varve_query::error::from_datafusion;

use crate::deadline::Deadline;

/// Operators that make many batches of one: DataFusion counts batches where they are read, so
/// that a task could run for minutes between two reads and nothing else in it, not even its end.
const MULTIPLYING: [&str; 7] = [
    "CrossJoinExec",
    "HashJoinExec",
    "NestedLoopJoinExec",
    "PiecewiseMergeJoinExec",
    "RecursiveQueryExec",
    "SortMergeJoinExec",
    "UnnestExec",
];

/// The plan with a pause after every few batches of an operator that multiplies rows. Errors: `Internal`.
pub(crate) fn with_pauses(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let paused = plan.transform_up(|node| {
        if MULTIPLYING.contains(&node.name()) {
            let pausing: Arc<dyn ExecutionPlan> = Arc::new(CooperativeExec::new(node));
            return Ok(Transformed::yes(pausing));
        }
        Ok(Transformed::no(node))
    });
    paused.map(|paused| paused.data).map_err(from_datafusion)
}

/// Starts a plan and waits for its first batch, so that errors which allow another try come out here.
#[tracing::instrument(level = "debug", name = "merge", skip_all)]
pub(crate) async fn open(
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    deadline: &Deadline,
) -> Result<(Option<RecordBatch>, RowStream)> {
    let stream = execute_stream(plan, context).map_err(from_datafusion)?;
    let mut rows: RowStream = Box::pin(stream.map(|batch| batch.map_err(from_datafusion)));
    let first = deadline.bound("the query", async { rows.next().await.transpose() }).await?;
    Ok((first, rows))
}

/// The rows as an answer. Dropping the stream ends the work everywhere.
pub(crate) fn stream(
    schema: arrow_schema::SchemaRef,
    first: Option<RecordBatch>,
    rows: RowStream,
    deadline: Deadline,
) -> Output {
    let rest = stream::unfold(Some((rows, deadline)), |state| async move {
        let (mut rows, deadline) = state?;
        match deadline.bound("the query", async { rows.next().await.transpose() }).await {
            Ok(Some(batch)) => Some((Ok(batch), Some((rows, deadline)))),
            Ok(None) => None,
            // After an error there is nothing more, and the work ends with the dropped stream.
            Err(error) => Some((Err(error), None)),
        }
    });
    let all = stream::iter(first.map(Ok)).chain(rest);
    Output::Rows { schema, stream: Box::pin(all) }
}
