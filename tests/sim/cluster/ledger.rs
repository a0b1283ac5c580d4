//! What an observer of all calls must never see: invariants I5 and I13.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use varve_model::id::{NodeEpoch, RegionEpoch, RegionId};

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    sessions: BTreeSet<NodeEpoch>,
    /// Which life of a datanode acknowledged under a grant.
    ackers: BTreeMap<(RegionId, RegionEpoch), u64>,
    violation: Option<String>,
}

impl Ledger {
    /// Metasrv gave this epoch to a session.
    pub(crate) fn registered(&self, session: NodeEpoch) {
        let mut seen = self.0.lock();
        if !seen.sessions.insert(session) {
            seen.violation.get_or_insert_with(|| format!("I13: session {session} was given twice"));
        }
    }

    /// Metasrv lost its memory: what it gives again, the bucket refuses, and `watch` judges who writes as whom.
    pub(crate) fn metadata_restored(&self) {
        self.0.lock().sessions.clear();
    }

    /// A life of a datanode acknowledged rows of a region under an epoch.
    pub(crate) fn acked(&self, claim: (RegionId, RegionEpoch), life: u64) {
        let mut seen = self.0.lock();
        let first = *seen.ackers.entry(claim).or_insert(life);
        if first != life {
            let (region, epoch) = claim;
            let text = format!("I5: lives {first} and {life} both acknowledge for region {region} under epoch {epoch}");
            seen.violation.get_or_insert(text);
        }
    }

    /// A process saw what must not be.
    pub(crate) fn violated(&self, text: String) {
        self.0.lock().violation.get_or_insert(text);
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        self.0.lock().violation.clone().map_or(Ok(()), Err)
    }
}
