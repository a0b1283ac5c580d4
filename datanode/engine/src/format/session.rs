//! The body of a session object, version 1 (docs/format/session.md).
//!
//! It exists so that an epoch is used once, whatever metasrv remembers, and so that a sealer knows all lanes.

use serde::{Deserialize, Serialize};
use varve_model::Result;
use varve_model::id::{ClusterId, NodeEpoch, Nonce, VolumeId};

use super::framed::{self, SESSION};

#[cfg(test)]
mod tests;

/// One lifetime of a datanode process, as the bucket knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// The session.
    pub node_epoch: NodeEpoch,
    /// Fresh for every body.
    pub nonce: Nonce,
    /// The cluster.
    pub cluster: ClusterId,
    /// Lanes that it may ever use; a sealer seals them all.
    pub lanes: u8,
    /// The volume of its local log, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeId>,
}

impl Session {
    /// The object's bytes.
    pub fn encode(&self) -> Vec<u8> {
        framed::encode(SESSION, self)
    }

    /// Reads the object. Errors: `Corrupt`.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        framed::decode(SESSION, bytes)
    }
}
