//! `session/<node_epoch:016x>`: one lifetime of a datanode process.
//!
//! `{"node": <u64>, "address": "host:port", "volume": <u128> | absent,
//! "state": "live" | "fencing" | "sealed", "opened_ms": <ms>, "lease_ms": <ms>}`.
//! Records are kept until no route and no manifest can name the session.

use serde::{Deserialize, Serialize};
use varve_model::id::{NodeEpoch, NodeId, VolumeId};

use super::{Key, hex};

/// A session by its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionKey(pub NodeEpoch);

/// Value of [`SessionKey`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// The configured node.
    pub node: NodeId,
    /// Where frontends reach it; empty in process.
    pub address: String,
    /// The local WAL directory whose lock it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeId>,
    /// How far its life has come.
    pub state: SessionState,
    /// Milliseconds since the epoch.
    pub opened_ms: i64,
    /// The lease that it was told, in milliseconds: it keeps this one whatever metasrv's setting becomes. Absent in
    /// records of the first format: the setting's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_ms: Option<u64>,
}

/// How far a session's life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// It may own regions.
    Live,
    /// Its lanes are being sealed; it gets no more renewals.
    Fencing,
    /// It can never write again.
    Sealed,
}

impl Key for SessionKey {
    const KIND: &'static str = "session";
    type Record = SessionRecord;

    fn path(&self) -> String {
        format!("{:016x}", self.0.0)
    }

    fn parse(path: &str) -> Option<Self> {
        Some(Self(NodeEpoch(hex(path, 16)?)))
    }
}
