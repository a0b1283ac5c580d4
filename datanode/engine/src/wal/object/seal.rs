//! Ends a session by putting a SEAL behind each of its lanes; its own writer then finds its next slot taken.
//!
//! One listing is not enough: the session may have trimmed the slot that the
//! listing showed as free and be writing above it. Only a SEAL that a later
//! listing shows as the highest object of its lane ends the lane.

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use varve_model::id::{NodeEpoch, Nonce};
use varve_model::{Error, ErrorKind, Result, ResultExt};
use varve_service::clock::SharedClock;

use super::session::{self, SessionSlot};
use crate::fault::bug::{self, Bug};
use crate::format::object::{self, HEADER, ObjectHeader, ObjectKind};
use crate::format::session::Session;
use crate::store::create::{Created, ReadBack, create_verified, with_retry};
use crate::store::path;

/// Slots tried in one lane: a session cannot outrun its sealer for long.
const ATTEMPTS: usize = 1000;

/// Ends a session for good, on behalf of `sealer`: no object of it counts that is created after this returned.
/// Idempotent; racing sealers agree. Errors: `Unavailable` = try again; `Corrupt`.
pub async fn seal_session(
    store: &dyn ObjectStore,
    clock: &SharedClock,
    session: NodeEpoch,
    sealer: NodeEpoch,
) -> Result<()> {
    let doing = || format!("seal session {session}");
    let sealing = Sealing { store, clock, session, sealer };
    let begun = match session::read(store, clock, session).await.context(doing)? {
        Some(slot) => slot,
        None => sealing.forestall().await.context(doing)?,
    };
    match begun {
        SessionSlot::Begun(begun) => sealing.lanes(&begun).await.context(doing),
        SessionSlot::Sealed => Ok(()),
    }
}

/// Source of the error of a claim that finds the owner before it alive, as far as the bucket tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody has sealed session {0}")]
pub struct NotSealed(pub NodeEpoch);

impl NotSealed {
    /// What an error says about a session, if that is what it is about.
    pub fn of(error: &Error) -> Option<Self> {
        std::error::Error::source(error)?.downcast_ref::<Self>().copied()
    }
}

/// Makes sure that a session has ended that a manifest names as a source of rows. Such a session has begun, so one
/// that has not begun in this bucket has its log elsewhere: taken for an empty one, its rows would be lost without a
/// word. Errors: `Unavailable` with [`NotSealed`] as its source, and for a log that is elsewhere; `Corrupt`.
pub(super) async fn require_end(store: &dyn ObjectStore, clock: &SharedClock, session: NodeEpoch) -> Result<()> {
    match session::read(store, clock, session).await? {
        Some(SessionSlot::Begun(begun)) if begun.volume.is_none() => {
            if has_ended(store, clock, (session, declared(&begun))).await? {
                return Ok(());
            }
            let text = format!("unflushed rows are in the log of session {session}, which nobody has sealed");
            Err(Error::unavailable(text).with_source(NotSealed(session)))
        }
        _ => Err(Error::unavailable(format!(
            "unflushed rows are in the log of session {session}, which is not in this bucket"
        ))
        .with_hint("start the node that has the volume of that session")),
    }
}

/// Whether a SEAL is the highest object of every lane. Errors: `Unavailable`.
async fn has_ended(store: &dyn ObjectStore, clock: &SharedClock, (session, lanes): (NodeEpoch, u8)) -> Result<bool> {
    for lane in 0..lanes {
        let listed = list(store, clock, session, lane).await?;
        let sealer = match listed.last() {
            Some((_, meta)) => sealer_of(store, clock, &meta.location).await?,
            None => None,
        };
        if sealer.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The lanes that have to be sealed.
fn declared(begun: &Session) -> u8 {
    match begun.lanes {
        _ if bug::is(Bug::NoSeal) => 0,
        _ if bug::is(Bug::SealUsedLanesOnly) => 1,
        lanes => lanes,
    }
}

/// The slot that a listed name stands for; `None` for a name that is not ours.
pub(super) fn slot_of(path: &Path) -> Option<u64> {
    let name = path.filename()?.strip_suffix(".wal")?;
    if name.len() == 16 { u64::from_str_radix(name, 16).ok() } else { None }
}

/// The objects of a lane with their slots, ascending. Errors: `Unavailable`.
pub(crate) async fn list(
    store: &dyn ObjectStore,
    clock: &SharedClock,
    session: NodeEpoch,
    lane: u8,
) -> Result<Vec<(u64, ObjectMeta)>> {
    let folder = path::wal_lane(session, lane);
    let listed =
        with_retry(clock, &folder, || async { store.list(Some(&folder)).try_collect::<Vec<_>>().await }).await?;
    let slot = |meta: ObjectMeta| slot_of(&meta.location).map(|slot| (slot, meta));
    let mut slots = listed.into_iter().filter_map(slot).collect::<Vec<_>>();
    slots.sort_by_key(|(slot, _)| *slot);
    Ok(slots)
}

/// Why a lane's writer, whose next slot is `head`, can write no more; `None` while it can. A SEAL below ends nothing:
/// its sealer was slow and met a trimmed slot. Errors: `Unavailable`.
pub(super) async fn find_end(
    store: &dyn ObjectStore,
    clock: &SharedClock,
    (session, lane): (NodeEpoch, u8),
    head: u64,
) -> Result<Option<String>> {
    for (slot, meta) in list(store, clock, session, lane).await? {
        if slot >= head
            && let Some(sealer) = sealer_of(store, clock, &meta.location).await?
        {
            return Ok(Some(sealed_by(sealer, &meta.location)));
        }
    }
    Ok(None)
}

/// What is told of a session that was ended by another.
pub(super) fn sealed_by(sealer: NodeEpoch, at: &Path) -> String {
    format!("the session was sealed by session {sealer} at {at}")
}

/// Who put the SEAL that this object is; `None` for an object that is none, or is gone. Errors: `Unavailable`.
async fn sealer_of(store: &dyn ObjectStore, clock: &SharedClock, path: &Path) -> Result<Option<NodeEpoch>> {
    let header = match with_retry(clock, path, || store.get_range(path, 0..HEADER as u64)).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    match ObjectHeader::decode(&header).map(|header| header.kind) {
        Ok(ObjectKind::Seal { sealer }) => Ok(Some(sealer)),
        _ => Ok(None),
    }
}

/// A SEAL of a slot.
pub(super) fn body(clock: &SharedClock, slot: (NodeEpoch, u8, u64), sealer: NodeEpoch) -> Bytes {
    let header = ObjectHeader {
        kind: ObjectKind::Seal { sealer },
        session: slot.0,
        lane: slot.1,
        seq: slot.2,
        nonce: Nonce(clock.random()),
        previous: 0,
    };
    Bytes::from(object::encode(&header, &[], &[]))
}

/// Whether an object's first bytes are those of a SEAL.
pub(super) fn is_seal(bytes: &[u8]) -> bool {
    ObjectHeader::decode(bytes).is_ok_and(|header| matches!(header.kind, ObjectKind::Seal { .. }))
}

struct Sealing<'a> {
    store: &'a dyn ObjectStore,
    clock: &'a SharedClock,
    session: NodeEpoch,
    sealer: NodeEpoch,
}

impl Sealing<'_> {
    /// Takes the place of a session object that does not exist (yet), so that the session can never begin.
    async fn forestall(&self) -> Result<SessionSlot> {
        failpoint!("seal.create.before");
        let body = body(self.clock, (self.session, 0, 0), self.sealer);
        let path = path::session(self.session);
        match create_verified(self.store, self.clock, &path, &body, ReadBack::Always).await? {
            Created::Created => Ok(SessionSlot::Sealed),
            Created::Occupied(bytes) => SessionSlot::decode(&bytes),
        }
    }

    async fn lanes(&self, begun: &Session) -> Result<()> {
        for lane in 0..declared(begun) {
            self.lane(lane).await?;
        }
        Ok(())
    }

    async fn lane(&self, lane: u8) -> Result<()> {
        let mut sealed = None;
        for _ in 0..ATTEMPTS {
            failpoint!("seal.list.before");
            let listed = list(self.store, self.clock, self.session, lane).await?;
            let highest = listed.last().map(|(slot, _)| *slot);
            if sealed.is_some() {
                failpoint!("seal.relist.before");
            }
            match highest {
                Some(highest) if sealed == Some(highest) => return Ok(()),
                // An object that is gone was trimmed since the listing: then something above it exists.
                Some(highest) if self.holds_seal(lane, highest).await? => return Ok(()),
                _ => {}
            }
            sealed = Some(self.put_behind(lane, highest).await?);
            if bug::is(Bug::NoSealRelist) {
                return Ok(());
            }
        }
        Err(Error::unavailable(format!("lane {lane} grew faster than it could be sealed")))
    }

    /// Creates a SEAL in the first free slot behind `highest`; the slot of the SEAL that is there now.
    async fn put_behind(&self, lane: u8, highest: Option<u64>) -> Result<u64> {
        let mut slot = highest.map_or(0, |highest| highest + 1);
        for _ in 0..ATTEMPTS {
            failpoint!("seal.create.before");
            let body = body(self.clock, (self.session, lane, slot), self.sealer);
            let path = path::wal_object(self.session, lane, slot);
            match create_verified(self.store, self.clock, &path, &body, ReadBack::Always).await? {
                Created::Created => return Ok(slot),
                Created::Occupied(bytes) if is_seal(&bytes) => return Ok(slot),
                Created::Occupied(_) => slot += 1,
            }
        }
        Err(Error::unavailable(format!("lane {lane} grew faster than it could be sealed")))
    }

    async fn holds_seal(&self, lane: u8, slot: u64) -> Result<bool> {
        let path = path::wal_object(self.session, lane, slot);
        Ok(sealer_of(self.store, self.clock, &path).await?.is_some())
    }
}
