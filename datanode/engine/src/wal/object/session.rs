//! Sessions as the bucket knows them: their creation, and which epochs were used.
//!
//! The bucket and not metasrv has the last word on an epoch: after a restore of
//! metasrv's state from an old backup it may give one again, and the object is
//! there.

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use varve_model::id::{ClusterId, NodeEpoch, Nonce};
use varve_model::{Error, ErrorKind, Result, ResultExt};
use varve_service::clock::SharedClock;

use crate::format::object::{ObjectHeader, ObjectKind};
use crate::format::session::Session;
use crate::store::create::{Created, ReadBack, create_verified, with_retry};
use crate::store::path;

/// Sessions that are looked at to learn the bucket's cluster.
const LOOKED_AT_MAX: usize = 16;

/// The source of the error that a used epoch gives: the caller reports the highest one, and metasrv raises its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("session {session} exists in the bucket; its highest session is {highest}")]
pub struct EpochUsed {
    /// The epoch that was asked for.
    pub session: NodeEpoch,
    /// The highest one of the bucket; the next must be above.
    pub highest: NodeEpoch,
}

impl EpochUsed {
    /// What an error says about epochs, if that is what it is about.
    pub fn of(error: &Error) -> Option<Self> {
        std::error::Error::source(error)?.downcast_ref::<Self>().copied()
    }
}

/// What a session's slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionSlot {
    /// A session.
    Begun(Session),
    /// A SEAL: the session was ended before it began, and can never begin.
    Sealed,
}

impl SessionSlot {
    /// Reads a session object. Errors: `Corrupt`.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        match crate::format::object::decode(bytes) {
            Ok((ObjectHeader { kind: ObjectKind::Seal { .. }, .. }, _)) => Ok(Self::Sealed),
            _ => Session::decode(bytes).map(Self::Begun),
        }
    }
}

/// Creates a session's object; `(session, lanes)`. Errors: `Fenced` with [`EpochUsed`], `Unavailable`.
pub(super) async fn create(
    store: &dyn ObjectStore,
    clock: &SharedClock,
    cluster: ClusterId,
    (session, lanes): (NodeEpoch, u8),
) -> Result<()> {
    let nonce = Nonce(clock.random());
    let body = Session { node_epoch: session, nonce, cluster, lanes, volume: None }.encode();
    let created = create_verified(store, clock, &path::session(session), &Bytes::from(body), ReadBack::Always).await;
    match created.context(|| format!("begin session {session}"))? {
        Created::Created => Ok(()),
        Created::Occupied(_) => {
            let used = EpochUsed { session, highest: highest(store, clock).await?.max(session) };
            Err(Error::new(ErrorKind::Fenced, used.to_string()).with_source(used))
        }
    }
}

/// What a session's slot holds; `None` when it is free. Errors: `Corrupt`, `Unavailable`.
pub async fn read(store: &dyn ObjectStore, clock: &SharedClock, session: NodeEpoch) -> Result<Option<SessionSlot>> {
    let path = path::session(session);
    match with_retry(clock, &path, || async { store.get(&path).await?.bytes().await }).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(bytes) => SessionSlot::decode(&bytes).context(|| format!("read {path}")).map(Some),
    }
}

/// The highest session that the bucket knows, 0 without one. Errors: `Unavailable`.
pub async fn highest(store: &dyn ObjectStore, clock: &SharedClock) -> Result<NodeEpoch> {
    Ok(all(store, clock).await?.last().copied().unwrap_or_default())
}

/// All sessions of the bucket, ascending. Sealed and empty ones too. Errors: `Unavailable`.
pub async fn all(store: &dyn ObjectStore, clock: &SharedClock) -> Result<Vec<NodeEpoch>> {
    let folder = Path::from("wal");
    let listed = with_retry(clock, &folder, || store.list_with_delimiter(Some(&folder))).await?;
    let epoch = |path: &Path| {
        let name = path.filename()?;
        let epoch = NodeEpoch(u64::from_str_radix(name, 16).ok()?);
        (epoch.to_string() == name).then_some(epoch)
    };
    let mut epochs = listed.common_prefixes.iter().filter_map(epoch).collect::<Vec<_>>();
    epochs.sort_unstable();
    Ok(epochs)
}

/// The cluster whose sessions these are, by the newest that says so. Errors: `Corrupt`, `Unavailable`.
pub(crate) async fn cluster_of(
    store: &dyn ObjectStore,
    clock: &SharedClock,
    sessions: &[NodeEpoch],
) -> Result<Option<ClusterId>> {
    for session in sessions.iter().rev().take(LOOKED_AT_MAX) {
        if let Some(SessionSlot::Begun(session)) = read(store, clock, *session).await? {
            return Ok(Some(session.cluster));
        }
    }
    Ok(None)
}
