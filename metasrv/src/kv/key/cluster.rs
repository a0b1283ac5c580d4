//! `cluster/id`: the identity of the cluster, made once.
//!
//! `{"id": <u128>, "created_ms": <ms since the epoch>}`. Datanodes keep the id
//! on their volume and refuse to join another cluster.

use serde::{Deserialize, Serialize};
use varve_model::id::ClusterId;

use super::Key;

/// The only key of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterKey;

/// Value of [`ClusterKey`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// 128 random bits.
    pub id: ClusterId,
    /// Milliseconds since the epoch.
    pub created_ms: i64,
}

impl Key for ClusterKey {
    const KIND: &'static str = "cluster";
    type Record = ClusterRecord;

    fn path(&self) -> String {
        "id".to_owned()
    }

    fn parse(path: &str) -> Option<Self> {
        (path == "id").then_some(Self)
    }
}
