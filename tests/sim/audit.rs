//! What the bucket holds, read past every fault: invariants I8 and I9.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::memory::InMemory;
use parking_lot::Mutex;
use varve_engine::manifest::{ManifestState, audit};
use varve_engine::store::FileContext;
use varve_engine::store::path::RegionPaths;
use varve_model::budget::Account;
use varve_model::id::{RegionEpoch, RegionId};
use varve_service::clock::SharedClock;
use varve_service::task::{Blocking, TaskSet};

/// Audits regions and remembers what it saw: a committed version stays committed.
#[derive(Debug)]
pub(crate) struct Auditor {
    bucket: Arc<InMemory>,
    clock: SharedClock,
    seen: Mutex<BTreeMap<RegionId, ManifestState>>,
}

impl Auditor {
    pub(crate) fn new(bucket: Arc<InMemory>, clock: SharedClock) -> Self {
        Self { bucket, clock, seen: Mutex::default() }
    }

    pub(crate) async fn check(&self, region: RegionId) -> Result<(), String> {
        let ctx = FileContext {
            store: self.bucket.clone(),
            region,
            paths: Arc::new(RegionPaths::new(region)),
            clock: self.clock.clone(),
            tasks: TaskSet::new(Blocking::Inline),
            account: Account::root("audit", u64::MAX / 2),
            region_epoch: RegionEpoch(0),
        };
        let state = audit(&ctx).await.map_err(|error| error.to_string())?;
        let before = self.seen.lock().remove(&region);
        let Some(state) = state else {
            return before.map_or(Ok(()), |_| Err(format!("I8: region {region} is gone")));
        };
        if let Some(before) = before {
            let behind = state.version < before.version
                || state.region_epoch < before.region_epoch
                || state.flushed_to < before.flushed_to
                || (state.version == before.version && state != before);
            if behind {
                return Err(format!("I8: region {region} read {before:?} and now {state:?}"));
            }
        }
        self.seen.lock().insert(region, state);
        Ok(())
    }
}
