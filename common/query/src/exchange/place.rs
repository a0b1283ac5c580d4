//! Where a plan is cut into stages, and who runs them.
//!
//! A subtree below a point that collects all partitions may run on the datanodes
//! as stages, when every operator in it treats each partition for itself. Such a
//! subtree stays right with more partitions than were planned, as long as each
//! repartitioning by hash becomes an exchange between all nodes: what one
//! partition had together is still together in one partition of one node.
//!
//! A partition count of one is the exception: DataFusion takes it as any
//! distribution, and it would not survive. So operators that need their rows
//! together are only accepted above an exchange by hash into several partitions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DataFusionError, Result as DataFusionResult};
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode, SortMergeJoinExec};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, Partitioning, replace_children_if_necessary};
use datafusion_distributed::{DistributedLeafExec, NetworkCoalesceExec, NetworkShuffleExec};
use varve_model::Result;
use varve_model::id::RegionId;

use super::Peer;
use super::groups::are_few;
use super::shuffle::{Setting, ShuffleExec};
use crate::error::from_datafusion;
use crate::fragment::{self, reads_subquery, runs_per_partition};
use crate::operator::RegionScanExec;

/// Partitions of an exchange on all nodes together, unless there are more nodes than that: then each has one.
/// Each sender has a call per partition, and more of them than cores of a usual cluster only cost.
const PARTITIONS_MAX: usize = 64;

/// The node that owns a region. Errors: `StaleRoute` when unknown.
pub type Owner<'a> = dyn Fn(RegionId) -> Result<Peer> + 'a;

/// The plan with a [`ShuffleExec`] in place of each subtree that exchanges rows between several nodes.
///
/// A plan without such a subtree comes back as it is. Errors: `StaleRoute` of `owner`; `Internal`.
pub fn shuffle(
    plan: Arc<dyn ExecutionPlan>,
    owner: &Owner<'_>,
    setting: &Arc<Setting>,
) -> Result<Arc<dyn ExecutionPlan>> {
    // Whoever runs a plan collects the partitions of its root.
    if plan.output_partitioning().partition_count() > 1
        && let Some((staged, peers)) = stage(&plan, owner)?
    {
        let all = Arc::new(CoalescePartitionsExec::new(staged));
        return Ok(Arc::new(ShuffleExec::new(all, peers, Arc::clone(setting))));
    }
    visit(plan, owner, setting)
}

fn visit(plan: Arc<dyn ExecutionPlan>, owner: &Owner<'_>, setting: &Arc<Setting>) -> Result<Arc<dyn ExecutionPlan>> {
    if (plan.is::<CoalescePartitionsExec>() || plan.is::<SortPreservingMergeExec>())
        && let Some((staged, peers)) = stage(plan.children()[0], owner)?
    {
        let all = replace_children_if_necessary(plan, vec![staged]).map_err(from_datafusion)?;
        return Ok(Arc::new(ShuffleExec::new(all, peers, Arc::clone(setting))));
    }
    let children = plan.children().into_iter().map(|child| visit(Arc::clone(child), owner, setting));
    let children = children.collect::<Result<Vec<_>>>()?;
    replace_children_if_necessary(plan, children).map_err(from_datafusion)
}

/// A subtree as stages, and the nodes that run each of them.
type Staged = (Arc<dyn ExecutionPlan>, Vec<Peer>);

/// The subtree as stages; `None` when it cannot or need not be.
fn stage(plan: &Arc<dyn ExecutionPlan>, owner: &Owner<'_>) -> Result<Option<Staged>> {
    // Below a collecting point it makes no difference who gets which rows.
    if let Some(spread) = plan.downcast_ref::<RepartitionExec>()
        && matches!(spread.partitioning(), Partitioning::RoundRobinBatch(_))
    {
        return stage(spread.input(), owner);
    }
    let mut seen = Seen::default();
    if layout(plan, &mut seen).is_none() || seen.exchanges == 0 || !seen.is_worth_it {
        return Ok(None);
    }
    let homes = seen.regions.into_iter().map(|region| Ok((region, owner(region)?)));
    let homes = homes.collect::<Result<BTreeMap<_, _>>>()?;
    let peers = homes.values().cloned().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
    if peers.len() < 2 {
        return Ok(None);
    }
    if let Err(error) = fragment::encode(Arc::clone(plan), "") {
        tracing::debug!(%error, "a plan without bytes is not shuffled");
        return Ok(None);
    }
    let cut = Arc::clone(plan).transform_up(|node| boundary(node, &peers, &homes)).map_err(from_datafusion)?;
    let all = NetworkCoalesceExec::try_new(cut.data, peers.len(), 1).map_err(from_datafusion)?;
    Ok(Some((Arc::new(all), peers)))
}

/// How the rows of a subtree lie over its partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Anyhow.
    Scattered,
    /// As an exchange by hash put them.
    Hashed,
}

#[derive(Default)]
struct Seen {
    regions: BTreeSet<RegionId>,
    exchanges: usize,
    /// Whether the rows that are exchanged may be as many as those that are read.
    is_worth_it: bool,
}

/// The layout of a subtree that may run as stages; `None` when it may not.
fn layout(plan: &Arc<dyn ExecutionPlan>, seen: &mut Seen) -> Option<Layout> {
    if let Some(leaf) = plan.downcast_ref::<RegionScanExec>() {
        seen.regions.extend(leaf.source().regions.iter().map(|region| region.region));
        return Some(Layout::Scattered);
    }
    if plan.children().is_empty() || reads_subquery(plan.as_ref()) {
        return None;
    }
    let mut inputs = Vec::new();
    for child in plan.children() {
        inputs.push(layout(child, seen)?);
    }
    let hashed = inputs.iter().all(|input| *input == Layout::Hashed);
    if let Some(exec) = plan.downcast_ref::<RepartitionExec>() {
        return match exec.partitioning() {
            Partitioning::RoundRobinBatch(_) => Some(Layout::Scattered),
            // Rows of several senders arrive in any order.
            Partitioning::Hash(_, count) if *count > 1 && plan.output_ordering().is_none() => {
                seen.exchanges += 1;
                Some(Layout::Hashed)
            }
            _ => None,
        };
    }
    if let Some(exec) = plan.downcast_ref::<AggregateExec>()
        && *exec.mode() != AggregateMode::Partial
    {
        return match exec.mode() {
            AggregateMode::FinalPartitioned | AggregateMode::SinglePartitioned if hashed => {
                seen.is_worth_it |= !are_few(exec);
                Some(Layout::Hashed)
            }
            _ => None,
        };
    }
    if needs_rows_together(plan.as_ref()) {
        seen.is_worth_it = true;
        return hashed.then_some(Layout::Hashed);
    }
    if plan.is::<UnionExec>() {
        return Some(Layout::Scattered);
    }
    runs_per_partition(plan.as_ref()).then(|| inputs[0])
}

fn needs_rows_together(plan: &dyn ExecutionPlan) -> bool {
    if let Some(exec) = plan.downcast_ref::<HashJoinExec>() {
        return *exec.partition_mode() == PartitionMode::Partitioned && !exec.null_aware;
    }
    if let Some(exec) = plan.downcast_ref::<WindowAggExec>() {
        return !exec.partition_keys().is_empty();
    }
    if let Some(exec) = plan.downcast_ref::<BoundedWindowAggExec>() {
        return !exec.partition_keys().is_empty();
    }
    plan.is::<SortMergeJoinExec>()
}

/// Leaves with a part for each node; exchanges where rows were spread by hash.
fn boundary(
    node: Arc<dyn ExecutionPlan>,
    peers: &[Peer],
    homes: &BTreeMap<RegionId, Peer>,
) -> DataFusionResult<Transformed<Arc<dyn ExecutionPlan>>> {
    if let Some(leaf) = node.downcast_ref::<RegionScanExec>() {
        let mut parts = vec![Vec::new(); peers.len()];
        for region in &leaf.source().regions {
            let at = homes.get(&region.region).and_then(|home| peers.binary_search(home).ok());
            let part = at.and_then(|at| parts.get_mut(at));
            part.ok_or_else(|| DataFusionError::Internal(format!("region {} has no node", region.region)))?
                .push(*region);
        }
        let partitions = parts.iter().map(Vec::len).max().unwrap_or(0).max(1);
        let variants = parts.into_iter().map(|regions| leaf.padded(regions, partitions));
        let variants = variants.map(|variant| Arc::new(variant) as Arc<dyn ExecutionPlan>).collect::<Vec<_>>();
        let spread = DistributedLeafExec::try_new(Arc::clone(&node), variants)?;
        return Ok(Transformed::yes(Arc::new(spread)));
    }
    if let Some(exec) = node.downcast_ref::<RepartitionExec>()
        && let Partitioning::Hash(keys, count) = exec.partitioning()
    {
        let each = (*count).min(PARTITIONS_MAX / peers.len()).max(1);
        let spread = RepartitionExec::try_new(Arc::clone(exec.input()), Partitioning::Hash(keys.clone(), each))?;
        let exchange = NetworkShuffleExec::try_new(Arc::new(spread), peers.len())?;
        return Ok(Transformed::yes(Arc::new(exchange)));
    }
    Ok(Transformed::no(node))
}
