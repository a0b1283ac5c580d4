//! `counter/<what>`: numbers that are given once and never again.
//!
//! `{"next": <u64>}`, what the next one gets. `database`, `table` and
//! `node_epoch` are in use. A counter only rises; a datanode that saw a higher
//! epoch on its volume raises it (an etcd restored from an old backup).

use serde::{Deserialize, Serialize};

use super::Key;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CounterKey {
    /// Database ids.
    Database,
    /// Table ids.
    Table,
    /// Session epochs.
    NodeEpoch,
}

/// Value of [`CounterKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterRecord {
    /// The next number to give.
    pub next: u64,
}

impl Key for CounterKey {
    const KIND: &'static str = "counter";
    type Record = CounterRecord;

    fn path(&self) -> String {
        match self {
            Self::Database => "database",
            Self::Table => "table",
            Self::NodeEpoch => "node_epoch",
        }
        .to_owned()
    }

    fn parse(path: &str) -> Option<Self> {
        [Self::Database, Self::Table, Self::NodeEpoch].into_iter().find(|key| key.path() == path)
    }
}
