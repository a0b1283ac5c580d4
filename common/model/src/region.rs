//! Who owns a region, and for how long.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{NodeEpoch, NodeId, RegionEpoch, RegionId};

/// Where a region lives, as metasrv knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The region.
    pub region: RegionId,
    /// The current grant.
    pub epoch: RegionEpoch,
    /// The owning session.
    pub owner: NodeEpoch,
    /// The node of that session.
    pub node: NodeId,
    /// Whether the owner has reported it open.
    pub state: RouteState,
}

/// How far a grant has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteState {
    /// Granted; the owner claims and replays.
    Opening,
    /// The owner serves.
    Open,
    /// The owner found damage and serves nothing of it.
    Corrupt,
}

/// The right to acknowledge writes of a region: checked after the append, before the reply.
///
/// It bounds how long a cut-off node accepts writes; no row's safety depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    /// The grant it belongs to.
    pub epoch: RegionEpoch,
    /// On the clock that counts through suspend (`CLOCK_BOOTTIME`).
    pub valid_until: Duration,
}

impl Permit {
    /// Whether an ack at `now` is allowed under `epoch`.
    pub fn allows(&self, epoch: RegionEpoch, now: Duration) -> bool {
        self.epoch == epoch && now < self.valid_until
    }
}
