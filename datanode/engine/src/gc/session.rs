//! Deletes the data of a dead session, as far as no region can need it: the bucket alone decides.
//!
//! Nobody has to know which regions the session served: the objects say whose
//! rows they hold, and the manifests whether these are in files.

use std::collections::BTreeMap;

use varve_model::id::{NodeEpoch, RegionId, Sequence};
use varve_model::{Result, ResultExt};

use super::FileContext;
use crate::fault::bug::{self, Bug};
use crate::manifest;
use crate::store::delete::delete_paths;
use crate::store::path;
use crate::wal::object::{dead, seal};

/// What a deletion did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Objects deleted.
    pub objects: u64,
    /// Data objects left: some region still needs one, or a deletion failed. Ask again later.
    pub left: u64,
}

/// Deletes data objects of a sealed session whose rows are all in files, oldest first and up to the first that is
/// needed, so that what is left has no hole. SEALs and the session object stay for ever.
/// `ctx_of` gives the names of a region. Errors: `Unavailable`, also when the session is not sealed.
pub(crate) async fn delete_dead_session(
    ctx_of: impl Fn(RegionId) -> FileContext,
    session: NodeEpoch,
) -> Result<Deleted> {
    let doing = || format!("delete the log of session {session}");
    let ctx = ctx_of(RegionId(0));
    let dead = dead::read(&*ctx.store, &ctx.clock, session).await.context(doing)?;
    let mut heads = Heads { ctx_of, known: BTreeMap::new() };
    let mut deleted = Deleted { objects: 0, left: dead.objects };
    for (lane, objects) in (0u8..).zip(&dead.lanes) {
        let mut free = Vec::new();
        for (slot, last) in objects {
            if !heads.are_past(last).await.context(doing)? {
                break;
            }
            free.push(path::wal_object(session, lane, *slot));
        }
        let failed = delete_paths(&*ctx.store, &ctx.clock, &free).await;
        if let Some((_, error)) = failed.first() {
            tracing::warn!(%session, %error, objects = failed.len(), "objects of a dead session cannot be deleted yet");
        }
        let gone = (free.len() - failed.len()) as u64;
        deleted.objects += gone;
        deleted.left -= gone;
    }
    if bug::is(Bug::SealDeleted) && deleted.left == 0 {
        for lane in 0..dead.lanes.len() as u8 {
            let listed = seal::list(&*ctx.store, &ctx.clock, session, lane).await.context(doing)?;
            let seals = listed.into_iter().map(|(_, meta)| meta.location).collect::<Vec<_>>();
            delete_paths(&*ctx.store, &ctx.clock, &seals).await;
        }
    }
    Ok(deleted)
}

/// How far regions are flushed, by their manifests.
struct Heads<F> {
    ctx_of: F,
    known: BTreeMap<RegionId, Option<Sequence>>,
}

impl<F: Fn(RegionId) -> FileContext> Heads<F> {
    /// Whether all these rows are in files, or their region is dropped.
    async fn are_past(&mut self, last: &BTreeMap<RegionId, Sequence>) -> Result<bool> {
        for (region, last) in last {
            let flushed_to = match self.known.get(region) {
                Some(known) => *known,
                None => self.read(*region).await?,
            };
            if flushed_to.is_none_or(|flushed_to| flushed_to < *last) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// `None` for a region whose manifest is not there: its rows are kept.
    async fn read(&mut self, region: RegionId) -> Result<Option<Sequence>> {
        let head = manifest::read_head(&(self.ctx_of)(region)).await?;
        let flushed_to = head.map(|head| if head.dropped { Sequence(u64::MAX) } else { head.flushed_to });
        self.known.insert(region, flushed_to);
        Ok(flushed_to)
    }
}
