//! What the log in the bucket holds: invariants I6 and I11.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use varve_engine::format::object::{ObjectKind, decode};
use varve_engine::format::session::Session;
use varve_engine::manifest::ManifestState;
use varve_model::id::{NodeEpoch, RegionId, Sequence};

/// A lane of a session.
type Lane = (NodeEpoch, u8);

/// What was seen of the log.
#[derive(Debug, Default)]
pub(super) struct LogAudit {
    /// Data objects with the last row of each region in them.
    data: BTreeMap<Path, Vec<(RegionId, Sequence)>>,
    /// Lanes whose highest object was a SEAL, with its slot.
    ends: BTreeMap<Lane, u64>,
    /// Sessions that metasrv holds for ended.
    sealed: BTreeSet<NodeEpoch>,
}

impl LogAudit {
    /// Metasrv was told that these are sealed.
    pub(super) fn note_sealed(&mut self, sessions: impl IntoIterator<Item = NodeEpoch>) {
        self.sealed.extend(sessions);
    }

    /// Looks at the log: I6. Returns the objects that are there.
    pub(super) async fn look(&mut self, bucket: &Arc<InMemory>) -> Result<BTreeSet<Path>, String> {
        let prefix = Path::from("wal");
        let listed = bucket.list(Some(&prefix)).map_ok(|meta| meta.location).try_collect::<Vec<_>>().await;
        let listed = listed.map_err(|error| error.to_string())?;
        let mut highest: BTreeMap<Lane, (u64, bool)> = BTreeMap::new();
        let mut there = BTreeSet::new();
        let mut declared = BTreeSet::new();
        for path in listed {
            let got = bucket.get(&path).await.map_err(|error| error.to_string())?;
            let bytes = got.bytes().await.map_err(|error| error.to_string())?;
            if path.extension() != Some("wal") {
                let lanes = Session::decode(&bytes).map(|session| (session.node_epoch, session.lanes));
                declared
                    .extend(lanes.into_iter().flat_map(|(session, lanes)| (0..lanes).map(move |lane| (session, lane))));
                continue;
            }
            let (header, entries) = decode(&bytes).map_err(|error| format!("{path}: {error}"))?;
            let is_seal = matches!(header.kind, ObjectKind::Seal { .. });
            let lane = (header.session, header.lane);
            let top = highest.entry(lane).or_insert((header.seq, is_seal));
            *top = (*top).max((header.seq, is_seal));
            if !is_seal {
                self.data
                    .entry(path.clone())
                    .or_insert_with(|| entries.iter().map(|entry| (entry.region, entry.last_seq())).collect());
            }
            there.insert(path);
        }
        for (lane, end) in &self.ends {
            if !highest.contains_key(lane) {
                return Err(format!("I6: the SEAL of lane {lane:?} in slot {end} is gone"));
            }
        }
        let is_open = |lane: &&Lane| highest.get(lane).is_none_or(|(_, is_seal)| !is_seal);
        if let Some((session, lane)) = declared.iter().filter(|lane| self.sealed.contains(&lane.0)).find(is_open) {
            return Err(format!("I6: session {session} counts as sealed and its lane {lane} can be written"));
        }
        for (lane, (slot, is_seal)) in highest {
            match self.ends.get(&lane) {
                Some(end) if *end != slot || !is_seal => {
                    return Err(format!("I6: lane {lane:?} was sealed in slot {end} and now ends in slot {slot}"));
                }
                None if is_seal => drop(self.ends.insert(lane, slot)),
                _ => {}
            }
        }
        Ok(there)
    }

    /// I11: what is not there any more held nothing that its regions still need; they were audited after the look.
    pub(super) fn deleted(
        &mut self,
        there: &BTreeSet<Path>,
        states: &BTreeMap<RegionId, ManifestState>,
    ) -> Result<(), String> {
        let gone = self.data.keys().filter(|path| !there.contains(*path)).cloned().collect::<Vec<_>>();
        for path in gone {
            for (region, last) in self.data.remove(&path).unwrap_or_default() {
                let Some(state) = states.get(&region).filter(|state| !state.dropped) else {
                    continue;
                };
                if state.flushed_to < last {
                    let flushed = state.flushed_to;
                    return Err(format!(
                        "I11: {path} is gone with row {last} of region {region}, flushed is {flushed}"
                    ));
                }
            }
        }
        Ok(())
    }
}
