//! Clients' connections as other frontends see them: their numbers, and how one is cancelled.
//!
//! ```text
//!  31 30            21 20                    0
//! +--+----------------+-----------------------+
//! | 0|    frontend    | connection's number   |
//! +--+----------------+-----------------------+
//! ```
//!
//! One numbering for all wires. 31 bits, because PostgreSQL's clients keep a
//! signed number and MySQL's four bytes; the frontend stands in it so that no two
//! connections of a cluster share one.

use std::time::Duration;

use super::{FrontendId, ProcessId};

/// Bits of a connection's number within its frontend.
const CONNECTION_BITS: u32 = 21;

impl FrontendId {
    /// Frontends are numbered from 1 to this: process numbers have ten bits for them.
    pub const MAX: u32 = 1023;
}

impl ProcessId {
    /// The process of a frontend with this number, of which the low bits count.
    pub fn new(frontend: FrontendId, connection: u32) -> Self {
        let connection = connection & ((1 << CONNECTION_BITS) - 1);
        Self((frontend.0 & FrontendId::MAX) << CONNECTION_BITS | connection)
    }

    /// The frontend that gave the number.
    pub fn frontend(self) -> FrontendId {
        FrontendId(self.0 >> CONNECTION_BITS)
    }
}

/// What a cancel ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelScope {
    /// The statement that runs, if any.
    Statement,
    /// The statement and the connection.
    Connection,
}

/// A wish to end a statement or a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancel {
    /// Whose.
    pub process: ProcessId,
    /// What.
    pub scope: CancelScope,
    /// The secret that PostgreSQL gave its client. Only the frontend that owns the process knows
    /// whether it is right. `None`: asked by a statement of a client that is logged in.
    pub secret: Option<Vec<u8>>,
}

/// A statement that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its connection.
    pub id: ProcessId,
    /// Where the frontend that runs it serves.
    pub frontend: String,
    /// Wire and address of the client: `mysql[127.0.0.1:49152]`.
    pub client: String,
    /// The user name the client gave.
    pub user: String,
    /// The session's database.
    pub database: String,
    /// The text, cut when it is long.
    pub query: String,
    /// When it began, in milliseconds since the epoch.
    pub started_ms: i64,
    /// For how long it has run.
    pub elapsed: Duration,
}

#[cfg(test)]
mod tests;
