//! `leader/metasrv`: the metasrv that may write.
//!
//! `{"name": <text>, "address": "host:port" | absent, "since_ms": <ms>}`. Every transaction compares the key's
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
    /// Where clients reach it; empty in process.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
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
