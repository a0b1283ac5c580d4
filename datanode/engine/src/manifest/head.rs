//! Finds the head: the newest checkpoint, then every version behind it.

use futures::TryStreamExt;
use object_store::path::Path;
use varve_model::{Error, ErrorKind, Result, ResultExt};

use super::record::{Hash, Record};
use super::state::ManifestState;
use super::{Checkpoint, hash_of};
use crate::format::framed::{self, CHECKPOINT, MANIFEST};
use crate::store::FileContext;
use crate::store::create::with_retry;
use crate::store::path::number_of;

/// How often a head is read anew because versions were collected under the reader.
const ATTEMPTS: usize = 8;

/// The committed head with its hash; `None` when the region does not exist. Errors: `Corrupt`, `Unavailable`.
pub(super) async fn read(ctx: &FileContext) -> Result<Option<(ManifestState, Hash)>> {
    let doing = || format!("read the manifest of region {}", ctx.region);
    for _ in 0..ATTEMPTS {
        let (newest, checkpoint) = match newest_checkpoint(ctx).await {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other.context(doing)?,
        };
        match follow_all(ctx, checkpoint).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            // What is missing behind an old checkpoint was collected, not lost.
            Err(error) if error.kind() == ErrorKind::Corrupt && newest_name(ctx).await.context(doing)? > newest => {}
            other => return other.context(doing),
        }
    }
    Err(Error::unavailable("manifest versions are collected faster than they can be read").context(doing()))
}

/// The state after every version that is listed behind this one. Errors: `Corrupt`, `NotFound`, `Unavailable`.
async fn follow_all(
    ctx: &FileContext,
    mut head: Option<(ManifestState, Hash)>,
) -> Result<Option<(ManifestState, Hash)>> {
    let after = head.as_ref().map(|(state, _)| ctx.paths.manifest(state.version));
    for path in list(ctx, &ctx.paths.manifests(), after).await? {
        let Some(version) = number_of(&path) else { continue };
        head = Some(follow(ctx, &path, version, head).await?);
    }
    Ok(head)
}

/// The state and hash after the version in this object. Errors: `Corrupt`, `NotFound`, `Unavailable`.
pub(super) async fn follow(
    ctx: &FileContext,
    path: &Path,
    version: u64,
    head: Option<(ManifestState, Hash)>,
) -> Result<(ManifestState, Hash)> {
    let body = get(ctx, path).await?;
    let record: Record = framed::decode(MANIFEST, &body)?;
    if record.version != version || record.region != ctx.region {
        return Err(Error::corrupt(format!("{path} holds another version or region")));
    }
    let state = match head {
        None => ManifestState::create(&record)?,
        Some((state, before)) => state.apply(&record, before)?,
    };
    Ok((state, hash_of(&body)))
}

/// A checkpoint's state and hash.
/// Errors: `Corrupt`; `InvalidRequest` for one of a newer varve; `NotFound`; `Unavailable`.
pub(super) async fn checkpoint(ctx: &FileContext, path: &Path) -> Result<(ManifestState, Hash)> {
    let checkpoint: Checkpoint = framed::decode(CHECKPOINT, &get(ctx, path).await?)?;
    checkpoint.state.check()?;
    if number_of(path) != Some(checkpoint.state.version) {
        return Err(Error::corrupt(format!("{path} holds another version than its name says")));
    }
    Ok((checkpoint.state, checkpoint.hash))
}

/// The newest checkpoint that can be read, behind the number of the newest that is listed: a damaged one is passed
/// over, since versions are the authority. Errors: `NotFound`, `Unavailable`.
async fn newest_checkpoint(ctx: &FileContext) -> Result<(Option<u64>, Option<(ManifestState, Hash)>)> {
    let paths = list(ctx, &ctx.paths.checkpoints(), None).await?;
    let newest = paths.iter().filter_map(number_of).max();
    for path in paths.iter().rev() {
        match checkpoint(ctx, path).await {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                tracing::error!(%path, %error, "a manifest checkpoint is damaged");
            }
            other => return other.map(|state| (newest, Some(state))),
        }
    }
    Ok((newest, None))
}

/// The number of the newest checkpoint. Errors: `Unavailable`.
async fn newest_name(ctx: &FileContext) -> Result<Option<u64>> {
    Ok(list(ctx, &ctx.paths.checkpoints(), None).await?.iter().filter_map(number_of).max())
}

async fn get(ctx: &FileContext, path: &Path) -> Result<bytes::Bytes> {
    with_retry(&ctx.clock, path, || async {
        ctx.store.get_opts(path, object_store::GetOptions::default()).await?.bytes().await
    })
    .await
}

/// Names in a folder, sorted, those behind `after` only.
pub(super) async fn list(ctx: &FileContext, folder: &Path, after: Option<Path>) -> Result<Vec<Path>> {
    let mut paths = with_retry(&ctx.clock, folder, || async {
        let listing = match &after {
            None => ctx.store.list(Some(folder)),
            Some(after) => ctx.store.list_with_offset(Some(folder), after),
        };
        listing.map_ok(|meta| meta.location).try_collect::<Vec<_>>().await
    })
    .await?;
    paths.sort_unstable();
    Ok(paths)
}
