//! Cuts a physical plan into fragments for the datanodes and a top plan for the frontend.
//!
//! Every leaf over regions is cut out together with the operators above it that
//! may run where the rows are:
//!
//! ```text
//! one datanode owns all regions       several own them
//!
//!   top ── FragmentExec               AggregateExec(Final)
//!            │ the whole chain          RepartitionExec(hash)
//!            ▼                            FragmentExec, one partition per datanode
//!   AggregateExec(Final)                    ▼
//!     RepartitionExec                     AggregateExec(Partial)
//!       AggregateExec(Partial)              FilterExec
//!         RegionScanExec                      RegionScanExec (its regions only)
//! ```
//!
//! A fragment answers one stream, so a cut may change the number of partitions.
//! That is allowed where nobody counts on it: at the root, below an operator
//! that takes any number, and where the number is one before and after.
//! Elsewhere each region becomes a fragment of its own, which keeps the number.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, Partitioning, replace_children_if_necessary};
use varve_model::id::{NodeId, RegionId};
use varve_model::{Error, ErrorKind, Result};
use varve_proto::datanode::DatanodeApi;
use varve_query::error::from_datafusion;
use varve_query::exchange::Peer;
use varve_query::fragment::{self, reads_subquery, runs_per_partition};
use varve_query::operator::{RegionScanExec, ScanRegion};

use super::exchange::{Fragments, Part};
use crate::cluster::{Clients, View};
use crate::deadline::Deadline;

/// The datanodes as one request sees them.
#[derive(Debug)]
pub(crate) struct Fleet {
    view: Arc<View>,
    clients: Arc<Clients>,
    deadline: Deadline,
    time_zone: String,
}

impl Fleet {
    pub(crate) fn new(view: Arc<View>, clients: Arc<Clients>, deadline: Deadline, time_zone: &str) -> Self {
        Self { view, clients, deadline, time_zone: time_zone.to_owned() }
    }

    /// The node that owns a region. Errors: `StaleRoute` when unknown.
    pub(super) fn owner(&self, region: RegionId) -> Result<NodeId> {
        let gone = || Error::new(ErrorKind::StaleRoute, format!("the table of region {region} is gone"));
        let table = self.view.table_by_id(region.table()).ok_or_else(gone)?;
        Ok(table.route(region)?.node)
    }

    /// The node that owns a region, and where it is. Errors: `StaleRoute`; `Unavailable` without an address.
    pub(super) fn peer(&self, region: RegionId) -> Result<Peer> {
        let node = self.owner(region)?;
        let address = self.view.nodes.get(&node);
        let unknown = || Error::unavailable(format!("the address of datanode {node} is not known yet"));
        Ok(Peer { node, address: address.ok_or_else(unknown)?.clone() })
    }

    pub(super) fn time_zone(&self) -> &str {
        &self.time_zone
    }

    pub(super) fn client(&self, node: NodeId) -> Result<Arc<dyn DatanodeApi>> {
        self.clients.client(&self.view, node)
    }

    pub(super) fn deadline(&self) -> &Deadline {
        &self.deadline
    }
}

/// The top plan, with fragments where leaves were. Errors: `StaleRoute`; `Internal`.
#[tracing::instrument(level = "debug", skip_all)]
pub(crate) fn distribute(plan: Arc<dyn ExecutionPlan>, fleet: &Arc<Fleet>) -> Result<Arc<dyn ExecutionPlan>> {
    cut(plan, true, fleet)
}

/// `agnostic`: the parent takes any number of partitions.
fn cut(plan: Arc<dyn ExecutionPlan>, agnostic: bool, fleet: &Arc<Fleet>) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(leaf) = leaf_of(&plan) {
        let mut owners = BTreeMap::<NodeId, Vec<ScanRegion>>::new();
        for region in &leaf.source().regions {
            owners.entry(fleet.owner(region.region)?).or_default().push(*region);
        }
        if let Some(fragment) = cut_chain(&plan, agnostic, &owners, fleet)? {
            return Ok(fragment);
        }
    }
    let agnostic = takes_any_partitions(plan.as_ref());
    let children = plan.children().into_iter().map(|child| cut(Arc::clone(child), agnostic, fleet));
    let children = children.collect::<Result<Vec<_>>>()?;
    replace_children_if_necessary(plan, children).map_err(from_datafusion)
}

/// The fragment that stands for this whole chain; `None` when it must be cut further down.
fn cut_chain(
    plan: &Arc<dyn ExecutionPlan>,
    agnostic: bool,
    owners: &BTreeMap<NodeId, Vec<ScanRegion>>,
    fleet: &Arc<Fleet>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let is_leaf = plan.is::<RegionScanExec>();
    let one_partition = plan.output_partitioning().partition_count() == 1;
    let groups = if let [(node, regions)] = &owners.iter().collect::<Vec<_>>()[..] {
        if (agnostic || one_partition) && whole_chain(plan, &runs_anywhere) {
            Some(vec![(**node, (*regions).clone())])
        } else {
            None
        }
    } else if agnostic && whole_chain(plan, &|node| runs_per_partition(node) || spreads(node)) {
        Some(owners.iter().map(|(node, regions)| (*node, regions.clone())).collect())
    } else {
        None
    };
    let groups = match groups {
        Some(groups) => groups,
        // One fragment per region keeps the number of partitions.
        None if whole_chain(plan, &runs_per_partition) => {
            let leaf = leaf_of(plan).expect("the caller found a leaf");
            let single = |region: &ScanRegion| Ok((fleet.owner(region.region)?, vec![*region]));
            leaf.source().regions.iter().map(single).collect::<Result<_>>()?
        }
        None => return Ok(None),
    };
    let mut parts = Vec::with_capacity(groups.len());
    for (node, regions) in groups {
        let part = with_regions(plan, regions)?;
        match fragment::encode(part, &fleet.time_zone) {
            Ok(fragment) => parts.push(Part { node, fragment }),
            // An operator or function without bytes stays here; the leaf itself always has bytes.
            Err(error) if !is_leaf => {
                tracing::debug!(%error, operator = plan.name(), "stays on the frontend");
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Some(Arc::new(Fragments::leaf(Arc::clone(plan), parts, Arc::clone(fleet)))))
}

/// The leaf below a chain of operators with one child each.
fn leaf_of(plan: &Arc<dyn ExecutionPlan>) -> Option<&RegionScanExec> {
    if let Some(leaf) = plan.downcast_ref::<RegionScanExec>() {
        return Some(leaf);
    }
    match plan.children()[..] {
        [child] => leaf_of(child),
        _ => None,
    }
}

/// The same chain over some of the leaf's regions.
fn with_regions(plan: &Arc<dyn ExecutionPlan>, regions: Vec<ScanRegion>) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(leaf) = plan.downcast_ref::<RegionScanExec>() {
        return Ok(Arc::new(leaf.with_regions(regions)));
    }
    let child = Arc::clone(plan.children()[0]);
    let child = with_regions(&child, regions)?;
    replace_children_if_necessary(Arc::clone(plan), vec![child]).map_err(from_datafusion)
}

fn whole_chain(plan: &Arc<dyn ExecutionPlan>, allowed: &dyn Fn(&dyn ExecutionPlan) -> bool) -> bool {
    if plan.is::<RegionScanExec>() {
        return true;
    }
    allowed(plan.as_ref())
        && !reads_subquery(plan.as_ref())
        && plan.children().iter().all(|child| whole_chain(child, allowed))
}

/// Repartitioning that only spreads work over cores: any rows may go anywhere.
fn spreads(plan: &dyn ExecutionPlan) -> bool {
    plan.downcast_ref::<RepartitionExec>()
        .is_some_and(|exec| matches!(exec.partitioning(), Partitioning::RoundRobinBatch(_)))
}

/// Operators that may run on the one datanode that has all rows.
fn runs_anywhere(plan: &dyn ExecutionPlan) -> bool {
    runs_per_partition(plan)
        || plan.is::<AggregateExec>()
        || plan.is::<SortExec>()
        || plan.is::<RepartitionExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is::<SortPreservingMergeExec>()
        || plan.is::<GlobalLimitExec>()
        || plan.is::<WindowAggExec>()
        || plan.is::<BoundedWindowAggExec>()
}

/// Operators that take any number of partitions and answer a number of their own.
fn takes_any_partitions(plan: &dyn ExecutionPlan) -> bool {
    plan.is::<RepartitionExec>() || plan.is::<CoalescePartitionsExec>() || plan.is::<SortPreservingMergeExec>()
}
