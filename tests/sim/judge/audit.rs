//! What the bucket holds, read past every fault: invariants I7 to I9 and I12; `log` has I6 and I11.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use parking_lot::Mutex;
use varve_engine::manifest::{ManifestState, audit};
use varve_engine::store::FileContext;
use varve_engine::store::path::{RegionPaths, number_of};
use varve_model::budget::Account;
use varve_model::id::{NodeEpoch, RegionEpoch, RegionId};
use varve_service::clock::SharedClock;
use varve_service::task::{Blocking, TaskSet};

use super::log::LogAudit;
use super::reference::References;

/// A region's files as the bucket itself shows them.
pub(crate) fn context(bucket: &Arc<InMemory>, clock: &SharedClock, region: RegionId) -> FileContext {
    FileContext {
        store: bucket.clone(),
        region,
        paths: Arc::new(RegionPaths::new(region)),
        clock: clock.clone(),
        tasks: TaskSet::new(Blocking::Inline),
        account: Account::root("audit", u64::MAX / 2),
        region_epoch: RegionEpoch(0),
    }
}

/// Audits regions and remembers what it saw: a committed version stays committed.
#[derive(Debug)]
pub(crate) struct Auditor {
    bucket: Arc<InMemory>,
    clock: SharedClock,
    seen: Mutex<Seen>,
}

/// What was seen before.
#[derive(Debug, Default)]
struct Seen {
    states: BTreeMap<RegionId, ManifestState>,
    boundaries: BTreeMap<RegionId, u64>,
    log: LogAudit,
    references: References,
}

impl Auditor {
    pub(crate) fn new(bucket: Arc<InMemory>, clock: SharedClock) -> Self {
        Self { bucket, clock, seen: Mutex::default() }
    }

    /// Metasrv holds these sessions for ended for good. So they stay, whatever it forgets.
    pub(crate) fn note_sealed(&self, sessions: impl IntoIterator<Item = NodeEpoch>) {
        self.seen.lock().log.note_sealed(sessions);
    }

    /// Checks these regions and the log.
    pub(crate) async fn check(&self, regions: &[RegionId]) -> Result<(), String> {
        let mut seen = std::mem::take(&mut *self.seen.lock());
        let there = seen.log.look(&self.bucket).await?;
        for region in regions {
            self.region(*region, &mut seen).await?;
        }
        seen.log.deleted(&there, &seen.states)?;
        *self.seen.lock() = seen;
        Ok(())
    }

    async fn region(&self, region: RegionId, seen: &mut Seen) -> Result<(), String> {
        let ctx = context(&self.bucket, &self.clock, region);
        self.boundary(&ctx, seen).await?;
        let state = audit(&ctx).await.map_err(|error| error.to_string())?;
        let before = seen.states.remove(&region);
        let Some(state) = state else {
            return before.map_or(Ok(()), |_| Err(format!("I8: region {region} is gone")));
        };
        if let Some(before) = before {
            let behind = state.version < before.version
                || state.region_epoch < before.region_epoch
                || state.flushed_to < before.flushed_to
                || (state.version == before.version && state != before);
            if behind {
                return Err(format!("I7, I8: region {region} read {before:?} and now {state:?}"));
            }
        }
        if !state.dropped {
            seen.references.look(&self.bucket, &ctx, &state).await?;
        }
        seen.states.insert(region, state);
        Ok(())
    }

    /// I12: the boundary never falls. That it covers what is deleted is part of I8: the rest is dense.
    async fn boundary(&self, ctx: &FileContext, seen: &mut Seen) -> Result<(), String> {
        let folder = ctx.paths.boundaries();
        let listed = self.bucket.list(Some(&folder)).map_ok(|meta| number_of(&meta.location));
        let listed = listed.try_collect::<Vec<_>>().await.map_err(|error| error.to_string())?;
        let (now, before) = (listed.into_iter().flatten().max(), seen.boundaries.get(&ctx.region).copied());
        if now < before {
            return Err(format!("I12: the boundary of region {} fell from {before:?} to {now:?}", ctx.region));
        }
        seen.boundaries.extend(now.map(|now| (ctx.region, now)));
        Ok(())
    }
}
