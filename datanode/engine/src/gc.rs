//! Deletes objects that nobody can need any more; only the region's owner does.
//!
//! Files of the own epoch are tracked in memory from the edit that removed
//! them. Files of older epochs that nothing names are orphans: a commit of an
//! older epoch is impossible since the claim, whatever any clock says.
//! What others refer to stays, whatever this region needs (`reference`).
//! The log of a dead session has no owner: there the manifests of all its regions decide (`session`).

use std::collections::BTreeSet;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStoreExt};
use varve_model::{Error, Result};

use crate::fault::bug::{self, Bug};
use crate::sst::meta::FileName;
use crate::store::FileContext;
use crate::store::create::with_retry;
use crate::store::path::file_of;

pub mod reference;
pub mod session;
#[cfg(test)]
mod tests;

/// Files that left the manifest and wait for their readers.
#[derive(Debug, Default)]
pub struct Garbage {
    waiting: Vec<(FileName, Duration)>,
    /// Others referred to these when they were due.
    referenced: Vec<FileName>,
}

impl Garbage {
    /// Queues files for deletion not before `due` (boot clock).
    pub fn push(&mut self, names: impl IntoIterator<Item = FileName>, due: Duration) {
        self.waiting.extend(names.into_iter().map(|name| (name, due)));
    }

    /// Puts aside files that others refer to. They come up again with the next file that is due: whether a reference
    /// still stands is asked of the bucket, and an idle region asks nothing.
    pub fn put_aside(&mut self, names: Vec<FileName>) {
        self.referenced.extend(names);
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes the files that are due and not in use.
    pub fn due(&mut self, now: Duration, in_use: impl Fn(FileName) -> bool) -> Vec<FileName> {
        let is_due = |entry: &mut (FileName, Duration)| entry.1 <= now && !in_use(entry.0);
        let mut due = self.waiting.extract_if(.., is_due).map(|(name, _)| name).collect::<Vec<_>>();
        if !due.is_empty() {
            due.extend(self.referenced.extract_if(.., |name| !in_use(*name)));
        }
        due
    }
}

/// Deletes a data file and its sidecar; one that is gone already is fine. Errors: `Unavailable`.
pub async fn delete_file(ctx: &FileContext, name: FileName) -> Result<()> {
    delete_paths(ctx, [ctx.paths.data(name), ctx.paths.sidecar(name)]).await
}

/// Deletes objects; those that are gone already are fine. Errors: `Unavailable`.
pub async fn delete_paths(ctx: &FileContext, paths: impl IntoIterator<Item = Path>) -> Result<()> {
    for path in paths {
        match ctx.store.delete(&path).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => {}
            Err(error) => {
                return Err(Error::unavailable(format!("cannot delete {path}: {error}")).with_source(error));
            }
        }
    }
    Ok(())
}

/// Objects of files of older epochs that neither `named` nor a reference has, and at least this old by the store's
/// own clock (an added delay only: safety rests on the epoch). Errors: `Busy`, `Unavailable`.
pub async fn orphans(
    ctx: &FileContext,
    named: &BTreeSet<FileName>,
    age_min: Duration,
) -> Result<Vec<(FileName, Path)>> {
    let now_ms = ctx.clock.wall_nanos() / 1_000_000;
    let mut found = Vec::new();
    for folder in [ctx.paths.files(), ctx.paths.indexes()] {
        let listed =
            with_retry(&ctx.clock, &folder, || async { ctx.store.list(Some(&folder)).try_collect::<Vec<_>>().await })
                .await?;
        for meta in listed {
            let Some(name) = file_of(&meta.location) else { continue };
            let age_ms = now_ms.saturating_sub(meta.last_modified.timestamp_millis());
            let is_old = age_min.is_zero() || age_ms >= age_min.as_millis() as i64;
            let is_earlier = name.epoch < ctx.region_epoch || bug::is(Bug::OrphansOfAnyEpoch);
            if is_earlier && !named.contains(&name) && is_old {
                found.push((name, meta.location));
            }
        }
    }
    if !found.is_empty() {
        let kept = reference::kept(ctx).await?;
        found.retain(|(name, _)| !kept.has(*name));
    }
    found.sort_unstable();
    Ok(found)
}

/// Deletes all files of a dropped region but those that others refer to: who gives up the last reference deletes
/// these. Errors: `Busy`, `Unavailable`.
pub async fn delete_all(ctx: &FileContext) -> Result<()> {
    let kept = reference::kept(ctx).await?;
    for folder in [ctx.paths.files(), ctx.paths.indexes()] {
        let listed =
            with_retry(&ctx.clock, &folder, || async { ctx.store.list(Some(&folder)).try_collect::<Vec<_>>().await })
                .await?;
        let free = listed.into_iter().map(|meta| meta.location).filter(|path| !kept.has_object(path));
        delete_paths(ctx, free).await?;
    }
    Ok(())
}
