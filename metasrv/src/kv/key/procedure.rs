//! `procedure/<id:016x>`: a change that must be carried to its end.
//!
//! `{"work": {"<kind>": {...}}, "request_id": <text>, "started_ms": <ms>}`. It
//! is put in the transaction that begins the change and removed in the one that
//! ends it; a leader that starts resumes every one it finds. The id is random.

use serde::{Deserialize, Serialize};
use varve_model::id::{DatabaseId, TableId};

use super::{Key, hex};

/// A procedure by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcedureKey(pub u64);

/// Value of [`ProcedureKey`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcedureRecord {
    /// What remains to be done, from the records it names.
    pub work: Work,
    /// The client's request.
    pub request_id: String,
    /// Milliseconds since the epoch.
    pub started_ms: i64,
}

/// What a procedure does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Bring `next` of the table's record to every region, then publish it.
    AlterTable {
        /// The table.
        table: TableId,
    },
    /// Bring the database's ttl to the regions of tables without their own.
    AlterDatabase {
        /// The database.
        database: DatabaseId,
    },
    /// Delete every region, then the records.
    DropTable {
        /// The table.
        table: TableId,
    },
    /// Drop every table, then the record.
    DropDatabase {
        /// The database.
        database: DatabaseId,
    },
}

impl Key for ProcedureKey {
    const KIND: &'static str = "procedure";
    type Record = ProcedureRecord;

    fn path(&self) -> String {
        format!("{:016x}", self.0)
    }

    fn parse(path: &str) -> Option<Self> {
        Some(Self(hex(path, 16)?))
    }
}
