//! Somebody outside who refers to files: invariant I9 for what references name.
//!
//! It does what a backup of a later varve would: names the files of a head,
//! looks at the head again, and counts on them until it gives them up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use varve_engine::gc::reference::{Reference, Referred};
use varve_engine::manifest::{ManifestState, read_head};
use varve_engine::store::FileContext;
use varve_engine::store::path::Referrer;
use varve_model::id::{Nonce, RegionId};

/// What is referred to, by region.
#[derive(Debug, Default)]
pub(super) struct References(BTreeMap<RegionId, Held>);

#[derive(Debug)]
struct Held {
    reference: Path,
    version: u64,
    objects: Vec<Path>,
}

/// The objects of a head's files.
fn objects(ctx: &FileContext, state: &ManifestState) -> BTreeSet<Path> {
    let data = state.files.iter().flat_map(|file| [ctx.paths.data(file.name), ctx.paths.sidecar(file.name)]);
    data.chain(state.index.iter().map(|segment| ctx.paths.index(segment.name))).collect()
}

impl References {
    /// Checks that all is there that was referred to, then refers to this head instead.
    pub(super) async fn look(
        &mut self,
        bucket: &Arc<InMemory>,
        ctx: &FileContext,
        state: &ManifestState,
    ) -> Result<(), String> {
        let held = self.0.remove(&ctx.region);
        for object in held.iter().flat_map(|held| &held.objects) {
            let found = bucket.head(object).await;
            found.map_err(|_| format!("I9: {object} is gone, though a reference names it"))?;
        }
        if let Some(held) = held {
            if held.version == state.version {
                self.0.insert(ctx.region, held);
                return Ok(());
            }
            bucket.delete(&held.reference).await.map_err(|error| error.to_string())?;
        }
        if let Some(held) = refer(bucket, ctx, state).await? {
            self.0.insert(ctx.region, held);
        }
        Ok(())
    }
}

/// `None` when the head went on meanwhile without one of the files.
async fn refer(bucket: &Arc<InMemory>, ctx: &FileContext, state: &ManifestState) -> Result<Option<Held>, String> {
    let referrer = Referrer::try_from(format!("backup-{:x}", state.version)).map_err(|error| error.to_string())?;
    let path = ctx.paths.reference(&referrer);
    let files = state.files.iter().map(|file| file.name);
    let reference = Reference {
        region: ctx.region,
        referrer,
        nonce: Nonce(u128::from(state.version)),
        version: state.version,
        files: Referred::Names(files.chain(state.index.iter().map(|segment| segment.name)).collect()),
    };
    let put = bucket.put(&path, PutPayload::from(reference.encode())).await;
    put.map_err(|error| error.to_string())?;
    let named = objects(ctx, state);
    let head = read_head(ctx).await.map_err(|error| error.to_string())?;
    if head.is_none_or(|head| head.dropped || !named.is_subset(&objects(ctx, &head))) {
        bucket.delete(&path).await.map_err(|error| error.to_string())?;
        return Ok(None);
    }
    Ok(Some(Held { reference: path, version: state.version, objects: named.into_iter().collect() }))
}
