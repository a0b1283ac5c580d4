//! Logs of other sessions, as far as regions that live here now came from them: sealed, read once, then forgotten.
//!
//! A session that is sealed never changes, so its index is read once for all
//! its regions. Every byte is read for it, not only the footers: the hash chain
//! and the checksum of a whole object are what tells a lost or damaged object
//! from an unneeded one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use varve_model::id::{NodeEpoch, RegionId, Sequence};
use varve_model::{Error, ErrorKind, Result, ResultExt};
use varve_service::clock::SharedClock;

use super::session::{self, SessionSlot};
use super::{body, index, seal};
use crate::format::object::{self, ObjectKind};
use crate::format::segment::IndexEntry;
use crate::store::create::with_retry_of;
use crate::store::path;
use crate::wal::Source;

/// Objects read at once; each may have 8 MiB.
const READ_AT_ONCE: usize = 4;
/// How long an index is kept for the next region of the same session.
const KEPT: Duration = Duration::from_mins(1);

/// What this session knows of others.
#[derive(Debug, Default)]
pub(super) struct Others(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Sessions that can write no more.
    sealed: BTreeSet<NodeEpoch>,
    /// Per region: the sessions that were read for it, with the last sequence found there.
    read: BTreeMap<RegionId, BTreeMap<NodeEpoch, Sequence>>,
    indexes: BTreeMap<NodeEpoch, (Duration, Arc<OnceCell<SessionIndex>>)>,
}

impl Others {
    pub(super) fn is_sealed(&self, session: NodeEpoch) -> bool {
        self.0.lock().sealed.contains(&session)
    }

    pub(super) fn note_sealed(&self, session: NodeEpoch) {
        self.0.lock().sealed.insert(session);
    }

    /// The region's rows in this session end with `last`.
    pub(super) fn note_read(&self, region: RegionId, session: NodeEpoch, last: Sequence) {
        self.0.lock().read.entry(region).or_default().insert(session, last);
    }

    /// Those sources of the manifest that still count: one is dropped when it was read and everything in it is flushed.
    pub(super) fn still_needed(
        &self,
        region: RegionId,
        flushed_to: Sequence,
        head: &[Source],
        me: NodeEpoch,
    ) -> Vec<Source> {
        let state = self.0.lock();
        let read = state.read.get(&region);
        let is_done =
            |source: &Source| read.and_then(|read| read.get(&source.session)).is_some_and(|last| *last <= flushed_to);
        head.iter().filter(|source| source.session != me && !is_done(source)).cloned().collect()
    }

    /// The manifest has the region's rows up to here in files, and has dropped what they came from.
    pub(super) fn flushed(&self, region: RegionId, flushed_to: Sequence) {
        let mut state = self.0.lock();
        if let Some(read) = state.read.get_mut(&region) {
            read.retain(|_, last| *last > flushed_to);
            if read.is_empty() {
                state.read.remove(&region);
            }
        }
    }

    /// Regions that were read from other sessions and are not flushed since.
    pub(super) fn inherited(&self) -> Vec<RegionId> {
        self.0.lock().read.keys().copied().collect()
    }

    /// The index of a sealed session, read by the first who asks. Errors: `Unavailable`, `Corrupt`.
    pub(super) async fn index(
        &self,
        store: &dyn ObjectStore,
        clock: &SharedClock,
        session: NodeEpoch,
    ) -> Result<Arc<OnceCell<SessionIndex>>> {
        let now = clock.boot();
        let cell = {
            let mut state = self.0.lock();
            state.indexes.retain(|known, (used, _)| *known == session || now.saturating_sub(*used) < KEPT);
            let (used, cell) = state.indexes.entry(session).or_default();
            *used = now;
            Arc::clone(cell)
        };
        cell.get_or_try_init(|| SessionIndex::load(store, clock, session)).await?;
        Ok(cell)
    }
}

/// An object as it was found.
#[derive(Debug)]
enum Object {
    Data(Vec<IndexEntry>),
    Seal,
    /// Not what the writer wrote, and why.
    Damaged(String),
}

#[derive(Debug, Default)]
struct Lane {
    objects: BTreeMap<u64, Object>,
    /// First slot of the dense run that ends with the SEAL. What lies below was trimmed, and may have come back as a
    /// late duplicate.
    run: u64,
}

/// All objects of a sealed session.
#[derive(Debug)]
pub(crate) struct SessionIndex {
    session: NodeEpoch,
    lanes: Vec<Lane>,
}

impl SessionIndex {
    /// Reads all objects of a session. Errors: `Unavailable` also when it is not sealed.
    pub(crate) async fn load(store: &dyn ObjectStore, clock: &SharedClock, session: NodeEpoch) -> Result<Self> {
        let lanes = match session::read(store, clock, session).await? {
            None => return Err(not_sealed(session)),
            Some(SessionSlot::Sealed) => 0,
            Some(SessionSlot::Begun(begun)) => begun.lanes,
        };
        let reading = Reading { store, clock, session };
        let lanes = stream::iter(0..lanes).then(|lane| reading.lane(lane)).try_collect().await;
        Ok(Self { session, lanes: lanes.context(|| format!("read the log of session {session}"))? })
    }

    /// The region's blocks that end above `after`, with lane and slot, from the slots in `first` on.
    /// Errors: `Corrupt` when an object that may hold such a block is damaged or missing.
    pub(super) fn blocks(
        &self,
        region: RegionId,
        after: Sequence,
        first: &[(u8, u64)],
    ) -> Result<Vec<(u8, u64, IndexEntry)>> {
        let mut found = Vec::new();
        for (number, lane) in (0u8..).zip(&self.lanes) {
            let first = first.iter().find(|(lane, _)| *lane == number).map_or(0, |(_, first)| *first);
            for (slot, object) in lane.objects.range(first..) {
                let name = || path::wal_object(self.session, number, *slot);
                let entries = match object {
                    Object::Seal => continue,
                    Object::Damaged(why) => return Err(Error::corrupt(format!("{} is damaged: {why}", name()))),
                    Object::Data(entries) => entries,
                };
                let wanted = entries.iter().filter(|entry| entry.region == region && entry.last_seq() > after);
                let before = found.len();
                found.extend(wanted.map(|entry| (number, *slot, *entry)));
                if *slot < lane.run && found.len() > before {
                    return Err(Error::corrupt(format!("{} is needed, but an object behind it is missing", name())));
                }
            }
        }
        Ok(found)
    }

    /// Per lane, the slots of its data with the last sequence of each region, ascending, up to the first damaged one.
    pub(crate) fn data(&self) -> Vec<Vec<(u64, BTreeMap<RegionId, Sequence>)>> {
        let of = |lane: &Lane| {
            let sound = lane.objects.iter().take_while(|(_, object)| !matches!(object, Object::Damaged(_)));
            let data = sound.filter_map(|(slot, object)| match object {
                Object::Data(entries) => Some((*slot, index::last_of(entries))),
                _ => None,
            });
            data.collect()
        };
        self.lanes.iter().map(of).collect()
    }

    /// Objects that hold data or should.
    pub(crate) fn data_count(&self) -> usize {
        let data = |lane: &Lane| lane.objects.values().filter(|object| !matches!(object, Object::Seal)).count();
        self.lanes.iter().map(data).sum()
    }
}

fn not_sealed(session: NodeEpoch) -> Error {
    Error::unavailable(format!("session {session} is not sealed: its log may still grow"))
}

/// An object with what links it to its neighbours.
struct Found {
    slot: u64,
    object: Object,
    hash: u128,
    previous: u128,
}

struct Reading<'a> {
    store: &'a dyn ObjectStore,
    clock: &'a SharedClock,
    session: NodeEpoch,
}

impl Reading<'_> {
    async fn lane(&self, lane: u8) -> Result<Lane> {
        let listed = seal::list(self.store, self.clock, self.session, lane).await?;
        let slots = listed.into_iter().map(|(slot, meta)| (slot, meta.size));
        let reads = stream::iter(slots).map(|(slot, size)| self.object(lane, slot, size)).buffered(READ_AT_ONCE);
        let found = reads.try_filter_map(|found| std::future::ready(Ok(found))).try_collect::<Vec<_>>().await?;
        if !matches!(found.last(), Some(Found { object: Object::Seal, .. })) {
            return Err(not_sealed(self.session));
        }
        Ok(link(found))
    }

    /// `None` when it was deleted since the listing.
    async fn object(&self, lane: u8, slot: u64, size: u64) -> Result<Option<Found>> {
        let path = path::wal_object(self.session, lane, slot);
        let get = || async { self.store.get(&path).await?.bytes().await };
        let bytes = match with_retry_of(self.clock, &path, size, get).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let hash = body::hash(&bytes);
        let (object, previous) = match object::decode(&bytes) {
            Err(error) => (Object::Damaged(error.message().to_owned()), 0),
            Ok((header, _)) if (header.session, header.lane, header.seq) != (self.session, lane, slot) => {
                (Object::Damaged("it belongs into another slot".to_owned()), 0)
            }
            Ok((header, entries)) => match header.kind {
                ObjectKind::Seal { .. } => (Object::Seal, 0),
                ObjectKind::Data => (Object::Data(entries), header.previous),
            },
        };
        Ok(Some(Found { slot, object, hash, previous }))
    }
}

/// Finds the dense run below the SEAL and follows its chain. Precondition: the last object is a SEAL.
fn link(mut found: Vec<Found>) -> Lane {
    let is_seal = |found: &Found| matches!(found.object, Object::Seal);
    let follows = |found: &[Found], at: usize| at > 0 && found[at - 1].slot + 1 == found[at].slot;
    let mut at = found.len() - 1;
    // Racing sealers may have left more than one.
    while follows(&found, at) && is_seal(&found[at - 1]) {
        at -= 1;
    }
    // A SEAL further down is that of a sealer that met a trimmed slot: everything below it was trimmed before.
    while follows(&found, at) && !is_seal(&found[at - 1]) {
        if matches!(found[at].object, Object::Data(_)) && found[at].previous != found[at - 1].hash {
            found[at - 1].object = Object::Damaged("the next object follows another one".to_owned());
        }
        at -= 1;
    }
    let run = found[at].slot;
    Lane { objects: found.into_iter().map(|found| (found.slot, found.object)).collect(), run }
}
