//! Where new regions go, and those of a session that is dead. Pure.

use std::collections::BTreeMap;

use varve_model::id::{NodeEpoch, NodeId};

#[cfg(test)]
mod tests;

/// A session that may get regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The session.
    pub(crate) session: NodeEpoch,
    /// Its node.
    pub(crate) node: NodeId,
    /// Regions it owns.
    pub(crate) regions: usize,
}

impl Candidate {
    /// With what it owns by the catalog.
    pub(crate) fn new(session: NodeEpoch, node: NodeId, load: &BTreeMap<NodeEpoch, usize>) -> Self {
        Self { session, node, regions: load.get(&session).copied().unwrap_or(0) }
    }
}

/// An owner for each of `count` regions of one table. The table is spread first, so that a node that
/// joins empty does not get all of a hot one; then the one with the fewest regions is chosen, then the
/// lowest session. Empty when there is no candidate.
pub(crate) fn place(count: usize, candidates: &[Candidate]) -> Vec<Candidate> {
    let mut given = candidates.iter().map(|candidate| (0_usize, *candidate)).collect::<Vec<_>>();
    let mut owners = Vec::with_capacity(count);
    for _ in 0..count {
        let least = given.iter_mut().min_by_key(|(given, candidate)| (*given, candidate.regions, candidate.session));
        let Some((given, owner)) = least else { break };
        owners.push(*owner);
        *given += 1;
        owner.regions += 1;
    }
    owners
}

/// New owners for `count` regions of a session of `node` that is dead, kept apart from `place`
/// because they go home first: a session of the same node has the same cache, and everything lies
/// as it did before. The candidates' regions are counted up, so that one table after the other can
/// be placed. Empty when there is no candidate.
pub(crate) fn replace(count: usize, node: NodeId, candidates: &mut [Candidate]) -> Vec<Candidate> {
    // The newest: an older one of the same node is about to end, too.
    let home = candidates.iter().filter(|candidate| candidate.node == node).map(|candidate| candidate.session).max();
    let mut owners = Vec::with_capacity(count);
    for _ in 0..count {
        let wanted = candidates.iter_mut().filter(|candidate| home.is_none_or(|home| candidate.session == home));
        let Some(owner) = wanted.min_by_key(|candidate| (candidate.regions, candidate.session)) else { break };
        owners.push(*owner);
        owner.regions += 1;
    }
    owners
}
