//! `leader/metasrv`: the metasrv that may write.
//!
//! `{"name": <text>, "since_ms": <ms>}`. Every transaction compares the key's
//! create revision, so that a deposed leader's writes do nothing.

use serde::{Deserialize, Serialize};

use super::Key;

/// The only key of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderKey;

/// Value of [`LeaderKey`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderRecord {
    /// Name of the leading metasrv.
    pub name: String,
    /// Milliseconds since the epoch.
    pub since_ms: i64,
}

impl Key for LeaderKey {
    const KIND: &'static str = "leader";
    type Record = LeaderRecord;

    fn path(&self) -> String {
        "metasrv".to_owned()
    }

    fn parse(path: &str) -> Option<Self> {
        (path == "metasrv").then_some(Self)
    }
}
