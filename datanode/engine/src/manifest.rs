//! The manifest: what a region consists of, as numbered objects that are created once.
//!
//! A version is claimed by creating its object; who finds the slot taken has
//! lost. So two owners can never both commit, whatever their clocks say.

use bytes::Bytes;
use object_store::ObjectStoreExt;
use serde::{Deserialize, Serialize};
use varve_model::id::{NodeEpoch, RegionEpoch, RegionId};
use varve_model::{Error, ErrorKind, Result, ResultExt};
use xxhash_rust::xxh3::xxh3_128;

use crate::fault::bug::{self, Bug};
use crate::format::framed::{self, BOUNDARY, CHECKPOINT, MANIFEST};
use crate::store::FileContext;
use crate::store::create::{Created, ReadBack, create_verified};
use crate::store::path::number_of;

mod audit;
mod head;
mod record;
mod state;
#[cfg(test)]
mod tests;

pub use audit::audit;
pub use record::{Claim, Create, Edit, Kind, Record, TokenEntry};
pub use state::{ManifestState, follows};

use record::Hash;

/// Versions between two checkpoints.
pub const CHECKPOINT_EVERY: u64 = 64;

/// The body of a checkpoint: an accelerator, never an authority.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Checkpoint {
    /// Hash of the version it stands for.
    hash: Hash,
    state: ManifestState,
}

/// The body of a boundary: versions up to this one may be gone.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Boundary {
    version: u64,
    nonce: Hash,
}

/// Source of the `Fenced` error of a grant that is too old: the epoch at the manifest's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the manifest's head has epoch {0}")]
pub struct NewerEpoch(pub RegionEpoch);

impl NewerEpoch {
    /// What an error says about epochs, if that is what it is about.
    pub fn of(error: &Error) -> Option<Self> {
        std::error::Error::source(error)?.downcast_ref::<Self>().copied()
    }
}

/// What is committed of a region, read by somebody who may not own it; `None` when it does not exist.
/// Errors: `Corrupt`, `Unavailable`.
pub async fn read_head(ctx: &FileContext) -> Result<Option<ManifestState>> {
    Ok(head::read(ctx).await?.map(|(state, _)| state))
}

/// The committed head of one region, in its owner's hands. Not cancel-safe: run to the end or drop it all.
#[derive(Debug)]
pub struct Manifest {
    ctx: FileContext,
    session: NodeEpoch,
    state: ManifestState,
    head_hash: Hash,
    checkpoint_every: u64,
}

/// Who claims a region, and what it must find there.
#[derive(Debug)]
pub struct Claimant<'a> {
    /// The session that will own it.
    pub session: NodeEpoch,
    /// What a fresh region begins with, and what an old one is compared to.
    pub create: Create,
    /// Versions between two checkpoints.
    pub checkpoint_every: u64,
    /// The log, which knows where unflushed rows are.
    pub wal: &'a dyn crate::wal::Wal,
}

impl Manifest {
    /// Reads the head and claims the region for `ctx.region_epoch`.
    /// Errors: `Fenced` = a newer grant exists; `AlreadyExists` = another life of the table; `NotFound` = dropped;
    /// `Corrupt`; `Unavailable` = unknown, open again.
    pub async fn open(ctx: FileContext, claimant: Claimant<'_>) -> Result<Self> {
        failpoint!("manifest.claim.before");
        loop {
            let head = head::read(&ctx).await?;
            let Some(record) = claim(&ctx, &claimant, head.as_ref()).await? else {
                let (state, head_hash) = head.expect("only an existing head can be ours already");
                return Ok(Self::new(ctx, &claimant, state, head_hash));
            };
            let body = Bytes::from(framed::encode(MANIFEST, &record));
            let path = ctx.paths.manifest(record.version);
            match create_verified(&*ctx.store, &ctx.clock, &path, &body, ReadBack::Always).await? {
                Created::Occupied(_) => continue,
                Created::Created if collected(&ctx, record.version).await? => continue,
                Created::Created => {}
            }
            let hash = hash_of(&body);
            let state = match head {
                None => ManifestState::create(&record)?,
                Some((state, hash)) => state.apply(&record, hash)?,
            };
            failpoint!("manifest.claim.after");
            return Ok(Self::new(ctx, &claimant, state, hash));
        }
    }

    fn new(ctx: FileContext, claimant: &Claimant<'_>, state: ManifestState, head_hash: Hash) -> Self {
        Self { ctx, session: claimant.session, state, head_hash, checkpoint_every: claimant.checkpoint_every.max(1) }
    }

    /// What is committed.
    pub fn state(&self) -> &ManifestState {
        &self.state
    }

    /// Commits an edit. Waits as long as the outcome is unknown: the slot stays bound to this body.
    /// Errors: `Fenced` = a newer owner exists: stop owning the region.
    pub async fn commit(&mut self, edit: Edit) -> Result<()> {
        failpoint!("manifest.commit.before");
        self.append(Kind::Edit(Box::new(edit))).await?;
        failpoint!("manifest.commit.after");
        if self.state.version.is_multiple_of(self.checkpoint_every)
            && let Err(error) = self.checkpoint().await
        {
            // The versions are the authority; the next checkpoint tries again.
            tracing::warn!(region = %self.ctx.region, %error, "manifest checkpoint failed");
        }
        Ok(())
    }

    /// Marks the region as dropped. Errors: `Fenced`.
    pub async fn tombstone(&mut self) -> Result<()> {
        self.append(Kind::Tombstone).await
    }

    #[tracing::instrument(
        level = "debug", name = "commit", skip_all,
        fields(region = %self.ctx.region, version = self.state.version + 1)
    )]
    async fn append(&mut self, kind: Kind) -> Result<()> {
        let record = Record {
            version: self.state.version + 1,
            region: self.ctx.region,
            region_epoch: self.ctx.region_epoch,
            node_epoch: self.session,
            nonce: Hash(self.ctx.clock.random()),
            prev_hash: self.head_hash,
            kind,
        };
        let next = self.state.apply(&record, self.head_hash)?;
        let body = Bytes::from(framed::encode(MANIFEST, &record));
        let path = self.ctx.paths.manifest(record.version);
        loop {
            match create_verified(&*self.ctx.store, &self.ctx.clock, &path, &body, ReadBack::Always).await {
                Ok(Created::Created) => break,
                Ok(Created::Occupied(_)) => return Err(fenced(self.ctx.region, record.version)),
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    tracing::warn!(region = %self.ctx.region, %error, "manifest commit is not yet known: going on with the same body");
                }
                Err(error) => return Err(error),
            }
        }
        while let Some(error) = match collected(&self.ctx, record.version).await {
            Ok(false) => None,
            Ok(true) => return Err(fenced(self.ctx.region, record.version)),
            Err(error) => Some(error),
        } {
            // The slot is ours: another body for it would meet our own and look like a newer owner.
            tracing::warn!(region = %self.ctx.region, %error, "manifest commit is not yet known: asking for the boundary again");
        }
        self.head_hash = hash_of(&body);
        self.state = next;
        Ok(())
    }

    /// Writes a checkpoint of the head, then collects versions that nobody needs: boundary first.
    async fn checkpoint(&self) -> Result<()> {
        failpoint!("manifest.checkpoint.before");
        let (ctx, version) = (&self.ctx, self.state.version);
        let body = framed::encode(CHECKPOINT, &Checkpoint { hash: self.head_hash, state: self.state.clone() });
        let path = ctx.paths.checkpoint(version);
        create_verified(&*ctx.store, &ctx.clock, &path, &Bytes::from(body), ReadBack::Always).await?;
        failpoint!("manifest.checkpoint.after");
        // The previous checkpoint and what follows it stay, should this one be damaged.
        let checkpoints = head::list(ctx, &ctx.paths.checkpoints(), None).await?;
        let earlier = checkpoints.iter().filter_map(number_of).filter(|number| *number < version);
        let Some(boundary) = earlier.max() else { return Ok(()) };
        let body = framed::encode(BOUNDARY, &Boundary { version: boundary, nonce: Hash(ctx.clock.random()) });
        let path = ctx.paths.boundary(boundary);
        if !bug::is(Bug::NoBoundary) {
            create_verified(&*ctx.store, &ctx.clock, &path, &Bytes::from(body), ReadBack::Always).await?;
        }
        let mut old = Vec::new();
        for (folder, below) in [
            (ctx.paths.manifests(), boundary + 1),
            (ctx.paths.checkpoints(), boundary),
            (ctx.paths.boundaries(), boundary),
        ] {
            let listed = head::list(ctx, &folder, None).await?;
            old.extend(listed.into_iter().filter(|path| number_of(path).is_some_and(|number| number < below)));
        }
        for path in old {
            ctx.store.delete(&path).await.map_err(|error| {
                Error::unavailable(format!("cannot delete {path}: {error}")).context("collect old manifest versions")
            })?;
        }
        Ok(())
    }
}

/// The claim to write next; `None` when the head is this session's claim already (an earlier reply was lost).
async fn claim(
    ctx: &FileContext,
    claimant: &Claimant<'_>,
    head: Option<&(ManifestState, Hash)>,
) -> Result<Option<Record>> {
    let mut record = Record {
        version: 0,
        region: ctx.region,
        region_epoch: ctx.region_epoch,
        node_epoch: claimant.session,
        nonce: Hash(ctx.clock.random()),
        prev_hash: Hash(0),
        kind: Kind::Tombstone,
    };
    let create = claimant.create.clone();
    let Some((state, hash)) = head else {
        let sources = claimant.wal.sources(ctx.region, varve_model::id::Sequence(0), &[]);
        record.kind = Kind::Claim(Box::new(Claim { sources, create: Some(create), change: None }));
        return Ok(Some(record));
    };
    if state.dropped {
        return Err(Error::not_found(format!("region {} was dropped", ctx.region)));
    }
    if state.table.incarnation != create.table.incarnation {
        return Err(Error::new(
            ErrorKind::AlreadyExists,
            format!("region {} holds another life of the table: its id was used before", ctx.region),
        ));
    }
    if state.region_epoch == ctx.region_epoch && state.node_epoch == claimant.session {
        return Ok(None);
    }
    if state.region_epoch >= ctx.region_epoch {
        return Err(Error::new(
            ErrorKind::Fenced,
            format!("region {} has epoch {}, not below {}", ctx.region, state.region_epoch, ctx.region_epoch),
        )
        .with_source(NewerEpoch(state.region_epoch)));
    }
    claimant.wal.check_sources(&state.sources).await.context(|| format!("open region {}", ctx.region))?;
    let is_newer = create.table.schema.version > state.table.schema.version || create.ttl != state.ttl;
    record.version = state.version + 1;
    record.prev_hash = *hash;
    let inherited: &[_] = if bug::is(Bug::ClaimIgnoresSources) { &[] } else { &state.sources };
    record.kind = Kind::Claim(Box::new(Claim {
        sources: claimant.wal.sources(ctx.region, state.flushed_to, inherited),
        create: None,
        change: is_newer.then_some(create),
    }));
    Ok(Some(record))
}

/// Whether a version lies in the collected part: then its slot was not free but forgotten.
async fn collected(ctx: &FileContext, version: u64) -> Result<bool> {
    let Some(below) = version.checked_sub(1) else {
        return Ok(!head::list(ctx, &ctx.paths.boundaries(), None).await?.is_empty());
    };
    Ok(!head::list(ctx, &ctx.paths.boundaries(), Some(ctx.paths.boundary(below))).await?.is_empty())
}

fn hash_of(body: &[u8]) -> Hash {
    Hash(xxh3_128(body))
}

fn fenced(region: RegionId, version: u64) -> Error {
    Error::new(ErrorKind::Fenced, format!("region {region}: manifest version {version} was committed by a newer owner"))
}
