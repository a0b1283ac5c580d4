//! What one node asks of another in a query of several stages, as bytes.
//!
//! ```text
//! magic "VXCH" | version u32 | kind u8 | head length u32 | head, JSON | body
//! ```
//!
//! Little-endian. `Place` gives a node its task of a stage; its body is the plan.
//! `Read` asks for one partition of such a task; its body is the partitioning by
//! which the stage spreads its rows, or empty. Both bodies are DataFusion's bytes,
//! which change between its versions, so another version of ours is refused.

use bytes::{BufMut, Bytes, BytesMut};
use datafusion_distributed::TaskKey;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use varve_model::{Error, Result};

use super::Peer;

#[cfg(test)]
mod tests;

/// Raised with every change of DataFusion, of datafusion-distributed or of these bytes.
const EXCHANGE_VERSION: u32 = 1;

const MAGIC: &[u8; 4] = b"VXCH";
const PLACE: u8 = 1;
const READ: u8 = 2;
/// Tasks of a stage and partitions of a task: more nodes or cores than any cluster of ours has.
pub(super) const COUNT_MAX: usize = 1 << 16;

/// A task of a stage of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Task {
    /// Random, new for every execution.
    query: u128,
    stage: usize,
    number: usize,
}

impl Task {
    pub(super) fn new(key: TaskKey) -> Self {
        Self { query: key.query_id.as_u128(), stage: key.stage_id, number: key.task_number }
    }

    pub(super) fn key(self) -> TaskKey {
        TaskKey { query_id: Uuid::from_u128(self.query), stage_id: self.stage, task_number: self.number }
    }
}

/// Gives a node a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) task: Task,
    /// How many tasks the stage has.
    pub(super) tasks: usize,
    /// All nodes of the query; the position of a node is the number of its tasks.
    pub(super) peers: Vec<Peer>,
    /// The zone of the session.
    pub(super) time_zone: String,
}

/// Asks for a partition of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Read {
    pub(super) task: Task,
    pub(super) partition: usize,
    /// Whether the stage spreads its rows by a partitioning, which is the body.
    pub(super) spreads: bool,
}

/// A request with its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ticket {
    Place(Place, Bytes),
    Read(Read, Bytes),
}

impl Ticket {
    /// Errors: `Internal`.
    pub(super) fn encode(&self) -> Result<Bytes> {
        match self {
            Self::Place(head, body) => encode(PLACE, head, body),
            Self::Read(head, body) => encode(READ, head, body),
        }
    }

    /// Errors: `InvalidRequest` for foreign bytes or another version.
    pub(super) fn decode(bytes: &Bytes) -> Result<Self> {
        let (head, rest) = bytes.split_at_checked(13).ok_or_else(|| malformed("too short"))?;
        if &head[..4] != MAGIC {
            return Err(malformed("not a ticket"));
        }
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let version = number(4);
        if version != EXCHANGE_VERSION {
            return Err(Error::unsupported(format!("exchange: version {version}, this node runs {EXCHANGE_VERSION}"))
                .with_hint("nodes of different versions cannot share a query; finish the upgrade"));
        }
        let (json, body) = rest.split_at_checked(number(9) as usize).ok_or_else(|| malformed("too short"))?;
        let body = bytes.slice_ref(body);
        match head[8] {
            PLACE => {
                let place: Place = parse(json)?;
                if place.tasks > COUNT_MAX || place.task.number >= place.tasks || place.peers.len() != place.tasks {
                    return Err(malformed("its tasks and nodes do not fit"));
                }
                Ok(Self::Place(place, body))
            }
            READ => {
                let read: Read = parse(json)?;
                if read.partition >= COUNT_MAX {
                    return Err(malformed("its partition is out of range"));
                }
                Ok(Self::Read(read, body))
            }
            _ => Err(malformed("unknown kind")),
        }
    }
}

fn encode(kind: u8, head: &impl Serialize, body: &Bytes) -> Result<Bytes> {
    let json = serde_json::to_vec(head).map_err(|error| Error::internal(format!("exchange: {error}")))?;
    let mut bytes = BytesMut::with_capacity(13 + json.len() + body.len());
    bytes.put_slice(MAGIC);
    bytes.put_u32_le(EXCHANGE_VERSION);
    bytes.put_u8(kind);
    bytes.put_u32_le(json.len() as u32);
    bytes.put_slice(&json);
    bytes.put_slice(body);
    Ok(bytes.freeze())
}

fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|error| malformed("its head cannot be read").with_source(error))
}

fn malformed(why: &str) -> Error {
    Error::invalid(format!("exchange ticket: {why}"))
}
