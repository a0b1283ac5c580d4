//! What an observer of the bucket must never see happen: invariants I7, I9, I10 and I13.
//!
//! It stands below every fault, where a request takes effect, and knows whose
//! machine sent it, however late.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;
use parking_lot::Mutex;
use varve_engine::format::framed::{self, MANIFEST};
use varve_engine::format::object::{self, ObjectKind};
use varve_engine::format::session::Session;
use varve_engine::manifest::{Kind, ManifestState, Record, read_head};
use varve_engine::store::path::{FileName, RegionPaths, number_of};
use varve_model::id::{NodeEpoch, RegionEpoch, RegionId};
use varve_service::clock::SharedClock;

use super::ledger::Ledger;
use crate::judge::audit::context;

/// The observer.
#[derive(Debug)]
pub(crate) struct Watch {
    objects: Arc<InMemory>,
    clock: SharedClock,
    ledger: Arc<Ledger>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Which machine began a session.
    begun: BTreeMap<NodeEpoch, u64>,
    /// The highest epoch that was claimed.
    claimed: BTreeMap<RegionId, RegionEpoch>,
}

/// What a name below a region's prefix says: region, folder, last part.
fn below_a_region(path: &Path) -> Option<(RegionId, String, String)> {
    let parts = path.parts().map(|part| part.as_ref().to_owned()).collect::<Vec<_>>();
    let [root, _, region, folder, name] = parts.try_into().ok()?;
    let region = (root == "r").then(|| u64::from_str_radix(&region, 16).ok()).flatten()?;
    Some((RegionId(region), folder, name))
}

impl Watch {
    pub(crate) fn new(objects: Arc<InMemory>, clock: SharedClock, ledger: Arc<Ledger>) -> Arc<Self> {
        Arc::new(Self { objects, clock, ledger, seen: Mutex::default() })
    }

    /// An object came to be, on behalf of a machine.
    pub(crate) async fn created(&self, machine: u64, path: &Path, body: &[u8]) {
        if let Some((region, folder, _)) = below_a_region(path) {
            if folder == "m"
                && let Ok(record) = framed::decode::<Record>(MANIFEST, body)
            {
                self.committed(region, &record).await;
            }
            return;
        }
        if path.filename() == Some("session") {
            if let Ok(session) = Session::decode(body) {
                self.seen.lock().begun.insert(session.node_epoch, machine);
            }
            return;
        }
        let Ok((header, _)) = object::decode(body) else { return };
        let owner = self.seen.lock().begun.get(&header.session).copied();
        if header.kind == ObjectKind::Data && owner != Some(machine) {
            let session = header.session;
            self.ledger.violated(format!(
                "I13: machine {machine} writes to the log of session {session}, which machine {owner:?} began"
            ));
        }
    }

    /// I7. What lands in a collected slot is no commit: its writer finds the boundary there.
    async fn committed(&self, region: RegionId, record: &Record) {
        let folder = RegionPaths::new(region).boundaries();
        let listed = self.objects.list(Some(&folder)).try_collect::<Vec<_>>().await.unwrap_or_default();
        let boundary = listed.iter().filter_map(|meta| number_of(&meta.location)).max();
        if boundary.is_some_and(|boundary| record.version <= boundary) {
            return;
        }
        let mut seen = self.seen.lock();
        let highest = seen.claimed.entry(region).or_default();
        if record.region_epoch < *highest {
            let text = format!(
                "I7: version {} of region {region} was committed under epoch {} after a claim of {highest}",
                record.version, record.region_epoch
            );
            self.ledger.violated(text);
        }
        if matches!(record.kind, Kind::Claim(_)) {
            *highest = record.region_epoch.max(*highest);
        }
    }

    /// An object is about to be deleted, on behalf of a machine: I9, I10.
    pub(crate) async fn deleting(&self, machine: u64, path: &Path) {
        let Some((region, folder, name)) = below_a_region(path) else { return };
        if folder != "d" && folder != "i" {
            return;
        }
        let Some(file) = name.split_once('.').and_then(|(stem, _)| stem.parse::<FileName>().ok()) else { return };
        let Some(head) = self.head(region).await.filter(|head| !head.dropped) else { return };
        let named = head.files.iter().map(|file| file.name).chain(head.index.iter().map(|segment| segment.name));
        if named.into_iter().any(|name| name == file) {
            self.ledger.violated(format!("I9: machine {machine} deletes {path}, which version {} names", head.version));
        }
        let owner = self.seen.lock().begun.get(&head.node_epoch).copied();
        if file.epoch >= head.region_epoch && owner != Some(machine) {
            self.ledger.violated(format!(
                "I10: machine {machine} deletes {path}, but machine {owner:?} owns the region under epoch {}",
                head.region_epoch
            ));
        }
    }

    /// What is committed of a region. What cannot be read is the audit's to judge.
    pub(crate) async fn head(&self, region: RegionId) -> Option<ManifestState> {
        read_head(&context(&self.objects, &self.clock, region)).await.ok().flatten()
    }
}
