//! What a sealed session has left in the bucket, for whoever may delete it.

use std::collections::BTreeMap;

use object_store::ObjectStore;
use varve_model::Result;
use varve_model::id::{NodeEpoch, RegionId, Sequence};
use varve_service::clock::SharedClock;

use super::others::SessionIndex;

/// Slots of one lane with the last sequence of each region in them, ascending.
type Slots = Vec<(u64, BTreeMap<RegionId, Sequence>)>;

/// The data of a sealed session.
#[derive(Debug)]
pub(crate) struct Dead {
    /// Per lane, up to the first damaged object.
    pub(crate) lanes: Vec<Slots>,
    /// Data objects in all, damaged ones included.
    pub(crate) objects: u64,
}

/// Reads what a session has left. Errors: `Unavailable` also when it is not sealed.
pub(crate) async fn read(store: &dyn ObjectStore, clock: &SharedClock, session: NodeEpoch) -> Result<Dead> {
    let index = SessionIndex::load(store, clock, session).await?;
    Ok(Dead { lanes: index.data(), objects: index.data_count() as u64 })
}
