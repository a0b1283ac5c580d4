//! Where new regions go. Pure.

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

/// An owner for each of `count` regions: always the one with the fewest, the lowest session first.
/// Empty when there is no candidate.
pub(crate) fn place(count: usize, candidates: &[Candidate]) -> Vec<Candidate> {
    let mut candidates = candidates.to_vec();
    candidates.sort_by_key(|candidate| candidate.session);
    let mut owners = Vec::with_capacity(count);
    for _ in 0..count {
        let Some(least) = candidates.iter_mut().min_by_key(|candidate| candidate.regions) else { break };
        owners.push(*least);
        least.regions += 1;
    }
    owners
}
