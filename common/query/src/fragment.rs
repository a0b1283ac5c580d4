//! A fragment: a part of a physical plan over one leaf, as bytes.
//!
//! DataFusion's plan bytes change between its versions, so ours carry a version
//! of their own and another one is refused: during a rolling upgrade a query
//! fails with a clear text instead of a wrong plan.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use bytes::{BufMut, Bytes, BytesMut};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::ScalarUDF;
use datafusion::physical_expr::scalar_subquery::ScalarSubqueryExpr;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::LocalLimitExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, PhysicalExpr, execute_stream};
use datafusion_proto::bytes::{
    physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec,
};
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use futures::StreamExt;
use varve_model::{Error, Result};

use crate::context::Sessions;
use crate::error::from_datafusion;
use crate::operator::{BatchStream, RegionReader, RegionScanExec, ScanSource};

mod loss;
#[cfg(test)]
mod tests;

/// Raised with every change of DataFusion or of the leaf's bytes.
pub const FRAGMENT_VERSION: u32 = 1;

/// First bytes of a fragment.
const MAGIC: &[u8; 4] = b"VFRG";

/// The bytes of a plan, made in a session with this time zone.
///
/// Errors: `Unsupported` for an operator or function without bytes, or one that its bytes do not hold in full.
pub fn encode(plan: Arc<dyn ExecutionPlan>, time_zone: &str) -> Result<Bytes> {
    loss::check(plan.as_ref())?;
    let body = physical_plan_to_bytes_with_extension_codec(plan, &Codec).map_err(from_datafusion)?;
    let zone_len = u8::try_from(time_zone.len()).map_err(|_| Error::invalid("the time zone's name is too long"))?;
    let mut bytes = BytesMut::with_capacity(body.len() + time_zone.len() + 9);
    bytes.put_slice(MAGIC);
    bytes.put_u32_le(FRAGMENT_VERSION);
    bytes.put_u8(zone_len);
    bytes.put_slice(time_zone.as_bytes());
    bytes.put_slice(&body);
    Ok(bytes.freeze())
}

/// A plan that came over the wire.
#[derive(Debug)]
pub struct Fragment {
    /// What to run.
    pub plan: Arc<dyn ExecutionPlan>,
    /// What to run it in.
    pub context: Arc<TaskContext>,
}

impl Fragment {
    /// Starts it; its partitions are merged into one stream that keeps their order.
    ///
    /// Errors: `InvalidRequest`, `Internal`; errors of leaves come in the stream.
    pub fn execute(self) -> Result<(SchemaRef, BatchStream)> {
        let plan = self.plan;
        let merged: Arc<dyn ExecutionPlan> =
            match (plan.output_partitioning().partition_count(), plan.output_ordering()) {
                (1, _) => plan,
                (_, Some(ordering)) => Arc::new(SortPreservingMergeExec::new(ordering.clone(), Arc::clone(&plan))),
                (_, None) => Arc::new(CoalescePartitionsExec::new(plan)),
            };
        let schema = merged.schema();
        let stream = execute_stream(merged, self.context).map_err(from_datafusion)?;
        Ok((schema, stream.map(|batch| batch.map_err(from_datafusion)).boxed()))
    }
}

/// The plan of these bytes, whose leaves read through `reader`.
///
/// Errors: `InvalidRequest` for foreign bytes or another version.
pub fn decode(bytes: &[u8], sessions: &Sessions, reader: Arc<dyn RegionReader>) -> Result<Fragment> {
    let (zone, body) = open(bytes)?;
    let context = sessions.task(zone, reader);
    let plan = physical_plan_from_bytes_with_extension_codec(body, &context, &Codec)
        .map_err(|error| Error::invalid("fragment: cannot be decoded").with_source(error))?;
    Ok(Fragment { plan, context })
}

/// Checks the head; returns time zone and body.
fn open(bytes: &[u8]) -> Result<(&str, &[u8])> {
    let (head, rest) = bytes.split_at_checked(9).ok_or_else(|| Error::invalid("fragment: too short"))?;
    if &head[..4] != MAGIC {
        return Err(Error::invalid("fragment: not a fragment"));
    }
    let version = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    if version != FRAGMENT_VERSION {
        return Err(Error::unsupported(format!("fragment: version {version}, this node runs {FRAGMENT_VERSION}"))
            .with_hint("frontends and datanodes of different versions cannot share a query; finish the upgrade"));
    }
    let (zone, body) =
        rest.split_at_checked(usize::from(head[8])).ok_or_else(|| Error::invalid("fragment: too short"))?;
    let zone = std::str::from_utf8(zone).map_err(|_| Error::invalid("fragment: time zone is not text"))?;
    Ok((zone, body))
}

/// Whether an expression reads the result of a subquery, which only exists where the whole plan runs.
/// Sees what `apply_expressions` shows; the FILTER of a window function is not in it and has no bytes anyway.
pub fn reads_subquery(plan: &dyn ExecutionPlan) -> bool {
    let mut found = false;
    let visited = plan.apply_expressions(&mut |expr| {
        found |= has_subquery(expr);
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found || visited.is_err()
}

fn has_subquery(expr: &Arc<dyn PhysicalExpr>) -> bool {
    expr.is::<ScalarSubqueryExpr>() || expr.children().into_iter().any(has_subquery)
}

/// Operators of one input whose answer for a partition depends on that partition's rows only.
pub fn runs_per_partition(plan: &dyn ExecutionPlan) -> bool {
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        return *aggregate.mode() == AggregateMode::Partial;
    }
    if let Some(sort) = plan.downcast_ref::<SortExec>() {
        return sort.preserve_partitioning();
    }
    plan.is::<FilterExec>()
        || plan.is::<ProjectionExec>()
        || plan.is::<LocalLimitExec>()
        || plan.is::<CooperativeExec>()
        || plan.is::<UnnestExec>()
}

/// Bytes of our own operators.
#[derive(Debug)]
pub(crate) struct Codec;

impl PhysicalExtensionCodec for Codec {
    fn try_decode(
        &self,
        bytes: &[u8],
        _: &[Arc<dyn ExecutionPlan>],
        _: &TaskContext,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let source: ScanSource = serde_json::from_slice(bytes)
            .map_err(|error| DataFusionError::Plan(format!("region scan cannot be decoded: {error}")))?;
        if !source.is_valid() {
            return Err(DataFusionError::Plan("region scan names a column that does not exist".into()));
        }
        Ok(Arc::new(RegionScanExec::new(source)))
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        bytes: &mut Vec<u8>,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> DataFusionResult<()> {
        let Some(scan) = node.downcast_ref::<RegionScanExec>() else {
            return Err(DataFusionError::NotImplemented(format!("{} has no bytes", node.name())));
        };
        serde_json::to_writer(bytes, scan.source())
            .map_err(|error| DataFusionError::Internal(format!("region scan cannot be encoded: {error}")))
    }

    fn try_encode_udf(&self, function: &ScalarUDF, _: &mut Vec<u8>) -> DataFusionResult<()> {
        if loss::is_known(function) {
            return Ok(());
        }
        Err(DataFusionError::NotImplemented(format!("function {} has no bytes", function.name())))
    }
}
