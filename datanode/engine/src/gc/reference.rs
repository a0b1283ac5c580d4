//! References: what others need of a region's files, as objects below the region's own prefix.
//!
//! Only a region's owner deletes its files, so the owner looks for references
//! when it is about to. A referrer creates its reference while the head names
//! the files and then reads the head again; an owner looks after the commit that
//! removed them. One of the two sees the other, whatever any clock says.
//! Layout and rules: docs/format/reference.md.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};
use serde::{Deserialize, Serialize};
use varve_model::id::{Nonce, RegionId};
use varve_model::{Error, ErrorKind, Result, ResultExt};

use crate::fault::bug::{self, Bug};
use crate::format::framed::{self, REFERENCE};
use crate::store::FileContext;
use crate::store::create::{with_retry, with_retry_of};
use crate::store::path::{FileName, Referrer, file_of};

#[cfg(test)]
mod tests;

/// A larger reference is not read: then it keeps everything.
const BYTES_MAX: u64 = 16 << 20;

/// The body of a reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// The region whose files are needed.
    pub region: RegionId,
    /// Who needs them; also the object's name.
    pub referrer: Referrer,
    /// Fresh for every body.
    pub nonce: Nonce,
    /// The version of the region's manifest that named the files.
    pub version: u64,
    /// Which files.
    pub files: Referred,
}

/// The files that a reference keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Referred {
    /// All that there are.
    All,
    /// These data files, with their sidecars, and index segments.
    Names(BTreeSet<FileName>),
}

impl Reference {
    /// The object's bytes.
    pub fn encode(&self) -> Vec<u8> {
        framed::encode(REFERENCE, self)
    }

    /// Reads the object. Errors: `Corrupt`; `InvalidRequest` when a newer varve wrote it.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        framed::decode(REFERENCE, bytes)
    }
}

/// What must not be deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    is_all: bool,
    names: BTreeSet<FileName>,
}

impl Kept {
    /// Whether a file must stay.
    pub fn has(&self, name: FileName) -> bool {
        self.is_all || self.names.contains(&name)
    }

    /// Whether an object must stay.
    pub fn has_object(&self, path: &Path) -> bool {
        self.is_all || file_of(path).is_some_and(|name| self.names.contains(&name))
    }

    fn add(&mut self, files: Referred) {
        match files {
            Referred::All => self.is_all = true,
            Referred::Names(names) => self.names.extend(names),
        }
    }
}

/// What references keep of the region's files. Precondition: the commit that removed what shall be deleted is done.
///
/// A reference that cannot be understood keeps everything: a newer varve may have written it.
/// Errors: `Busy`, `Unavailable` = delete nothing.
pub async fn kept(ctx: &FileContext) -> Result<Kept> {
    let mut kept = Kept::default();
    if bug::is(Bug::GcIgnoresReferences) {
        return Ok(kept);
    }
    let folder = ctx.paths.references();
    let listed =
        with_retry(&ctx.clock, &folder, || async { ctx.store.list(Some(&folder)).try_collect::<Vec<_>>().await });
    for meta in listed.await? {
        match read(ctx, &meta).await {
            Ok(reference) => kept.add(reference.files),
            // Its referrer needs nothing any more.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::InvalidRequest) => {
                tracing::error!(region = %ctx.region, %error, "a reference cannot be read: no file of the region is deleted");
                kept.is_all = true;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(kept)
}

async fn read(ctx: &FileContext, meta: &ObjectMeta) -> Result<Reference> {
    let path = &meta.location;
    let doing = || format!("read reference {path}");
    if meta.size > BYTES_MAX {
        return Err(Error::corrupt(format!("{} bytes are too many", meta.size)).context(doing()));
    }
    let _charge = ctx.account.charge(meta.size)?;
    let bytes = with_retry_of(&ctx.clock, path, meta.size, || async { ctx.store.get(path).await?.bytes().await });
    let reference = Reference::decode(&bytes.await?).context(doing)?;
    if reference.region != ctx.region || ctx.paths.reference(&reference.referrer) != *path {
        return Err(Error::corrupt("it is of another region or referrer").context(doing()));
    }
    Ok(reference)
}
