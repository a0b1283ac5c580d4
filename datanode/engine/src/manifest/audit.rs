//! The judge of a region's objects, for tests and for whoever doubts a bucket.
//!
//! Opening a region passes over what it can do without; this passes over
//! nothing. Invariant I8: versions are dense and hash-chained, epochs and the
//! flushed sequence never fall, and every checkpoint says what its versions
//! say. Invariant I9: every file that the head names exists with its checksum.

use std::collections::BTreeSet;

use varve_model::id::RegionId;
use varve_model::{Error, Result, ResultExt};

use super::head;
use super::state::ManifestState;
use crate::store::FileContext;
use crate::store::path::{RegionPaths, number_of};

/// Reads all versions behind the boundary, every checkpoint among them, and every file of the head.
/// `None` when the region does not exist. Errors: `Corrupt` names the invariant; `Unavailable`.
pub async fn audit(ctx: &FileContext) -> Result<Option<ManifestState>> {
    let doing = |invariant: &str, region: RegionId| format!("{invariant}: audit of region {region}");
    let Some(state) = replay(ctx).await.context(|| doing("I8", ctx.region))? else { return Ok(None) };
    if !state.dropped {
        files(ctx, &state).await.context(|| doing("I9", ctx.region))?;
    }
    Ok(Some(state))
}

async fn replay(ctx: &FileContext) -> Result<Option<ManifestState>> {
    let boundaries = head::list(ctx, &ctx.paths.boundaries(), None).await?;
    let boundary = boundaries.iter().filter_map(number_of).max();
    let checkpoints = head::list(ctx, &ctx.paths.checkpoints(), None).await?;
    let mut checkpoints = checkpoints.iter().filter_map(number_of).collect::<BTreeSet<_>>();
    let mut head = match boundary {
        None => None,
        Some(version) => Some(head::checkpoint(ctx, &ctx.paths.checkpoint(version)).await?),
    };
    checkpoints.retain(|version| Some(*version) > boundary);
    for path in head::list(ctx, &ctx.paths.manifests(), boundary.map(|version| ctx.paths.manifest(version))).await? {
        let Some(version) = number_of(&path) else { continue };
        let next = head::follow(ctx, &path, version, head).await?;
        if checkpoints.remove(&version) && head::checkpoint(ctx, &ctx.paths.checkpoint(version)).await? != next {
            return Err(Error::corrupt(format!("checkpoint {version} differs from its versions")));
        }
        head = Some(next);
    }
    match checkpoints.first() {
        None => Ok(head.map(|(state, _)| state)),
        Some(version) => Err(Error::corrupt(format!("checkpoint {version} stands for no version"))),
    }
}

async fn files(ctx: &FileContext, state: &ManifestState) -> Result<()> {
    for file in &state.files {
        let paths = RegionPaths::new(file.origin);
        ctx.download(&paths.data(file.name), file.bytes, file.crc32c).await?;
        ctx.download(&paths.sidecar(file.name), file.sidecar_bytes, file.sidecar_crc32c).await?;
    }
    for segment in &state.index {
        let paths = RegionPaths::new(segment.origin.unwrap_or(ctx.region));
        ctx.download(&paths.index(segment.name), segment.bytes, segment.crc32c).await?;
    }
    Ok(())
}
