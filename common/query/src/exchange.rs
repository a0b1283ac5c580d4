//! Plans of several stages, whose rows are exchanged between the nodes that run them.
//!
//! ```text
//! frontend   SortPreservingMerge                         what is above stays here
//!              ShuffleExec ◄───────────┐
//!                                      │ sorted partitions
//! datanodes  stage 2   Sort ◄ Aggregate(Final) ◄┐
//!                                               │ each row to the node that its hash names
//!            stage 1   Repartition(hash) ◄ Aggregate(Partial) ◄ RegionScan (a node's own regions)
//! ```
//!
//! datafusion-distributed keeps a query's stages and its workers' tasks; where the
//! boundaries are, which node runs what and how bytes travel is ours:
//! every stage has one task on each node that owns a region of the plan, so a
//! region is only ever read by its owner, and all bytes go through [`Exchange`],
//! which its host carries over its own calls with their deadline, user and trace
//! (docs/adr/0006-shuffles-over-our-own-calls.md).

use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use varve_model::Result;
use varve_model::id::NodeId;

use crate::operator::BatchStream;

mod channel;
mod groups;
mod place;
mod shuffle;
#[cfg(test)]
mod tests;
mod ticket;
mod worker;

pub use place::{Owner, shuffle};
pub use shuffle::{Setting, ShuffleExec};
pub use worker::{Host, Worker};

/// A node that takes part in a query.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Peer {
    /// The node.
    pub node: NodeId,
    /// `host:port`, as metasrv told the frontend; empty in process.
    pub address: String,
}

/// How the nodes of a query reach each other, with what one query's calls carry.
///
/// Two implementations: a frontend's, and a datanode's for the stages between.
#[async_trait]
pub trait Exchange: Debug + Send + Sync {
    /// Hands a ticket to [`Worker::serve`] on that node. Dropping the stream ends what it began.
    ///
    /// Errors: what the node answered; `Unavailable` when it cannot be reached. A connection that
    /// breaks later is an error in the stream, never its end.
    async fn open(&self, peer: &Peer, ticket: Bytes) -> Result<BatchStream>;
}
