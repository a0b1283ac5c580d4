//! The datanode's three verbs: write, scan, describe.

use std::fmt::Debug;
use std::pin::Pin;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use varve_model::Result;
use varve_model::batch::RegionBatch;
use varve_model::id::{RegionEpoch, RegionId, SchemaVersion, Sequence};
use varve_model::matcher::Matcher;
use varve_model::scan::{DescribeSpec, RegionStatistics, ScanSpec};
use varve_model::time::TimeRange;

use crate::call::Call;

mod clients;

pub use clients::{Clients, Connect};

/// What a datanode does for frontends.
#[async_trait]
pub trait DatanodeApi: Debug + Send + Sync {
    /// Applies writes to regions of this datanode. Each region's part is atomic; the outer
    /// error is about the call as a whole (then every part's outcome is that error's).
    async fn write(&self, call: &Call, request: WriteRequest) -> Result<WriteReply>;

    /// Reads. Dropping the stream ends the work.
    async fn scan(&self, call: &Call, ticket: ScanTicket) -> Result<ScanReply>;

    /// Answers from index and statistics, never from samples.
    async fn describe(&self, call: &Call, request: DescribeRequest) -> Result<Description>;
}

/// Writes to regions of one datanode.
#[derive(Clone, Debug, PartialEq)]
pub struct WriteRequest {
    /// One per region.
    pub writes: Vec<RegionWrite>,
}

/// A write to one region.
#[derive(Clone, Debug, PartialEq)]
pub enum RegionWrite {
    /// Rows.
    Insert(RegionBatch),
    /// Deletes whole series within a time range.
    Delete(RegionDelete),
}

impl RegionWrite {
    /// The region.
    pub fn region(&self) -> RegionId {
        match self {
            Self::Insert(batch) => batch.region,
            Self::Delete(delete) => delete.region,
        }
    }
}

/// Deletes the rows of matching series whose timestamp lies in a range.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionDelete {
    /// Where.
    pub region: RegionId,
    /// The epoch the sender believes in.
    pub epoch: RegionEpoch,
    /// The schema the matchers were resolved against.
    pub schema_version: SchemaVersion,
    /// Which series; all of them when empty.
    pub matchers: Vec<Matcher>,
    /// Which rows of them.
    pub time: TimeRange,
}

/// One outcome per write of the request, in its order.
#[derive(Debug)]
pub struct WriteReply {
    /// What happened to each region's part.
    pub parts: Vec<Result<WriteAck>>,
}

/// A part is durable and readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteAck {
    /// Number of the part's last row.
    pub sequence: Sequence,
    /// Rows written, or rows marked deleted as far as they are known.
    pub rows: u64,
}

/// What to read.
#[derive(Clone, Debug, PartialEq)]
pub enum ScanTicket {
    /// Rows of one region.
    Region(ScanSpec),
    /// A fragment of a distributed SQL plan; opaque here, `varve_query::fragment` reads it.
    Sql(Bytes),
    /// A part of a plan whose stages exchange rows between datanodes; opaque here, `varve_query::exchange` reads it.
    /// The only ticket that one datanode gives another.
    Exchange(Bytes),
}

/// A stream of batches of one schema.
pub type BatchStream = Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>>;

/// The answer to a scan.
pub struct ScanReply {
    /// Schema of every batch.
    pub schema: SchemaRef,
    /// The batches; an error ends the stream.
    pub stream: BatchStream,
}

impl Debug for ScanReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScanReply").field("schema", &self.schema).finish_non_exhaustive()
    }
}

/// A question about one region.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribeRequest {
    /// The region.
    pub region: RegionId,
    /// The epoch the reader believes in.
    pub epoch: RegionEpoch,
    /// The question.
    pub spec: DescribeSpec,
}

/// The answer to a [`DescribeRequest`].
#[derive(Clone, Debug, PartialEq)]
pub enum Description {
    /// Distinct values, sorted.
    TagValues(Vec<String>),
    /// Registry keys, in key order.
    Series(Vec<Vec<u8>>),
    /// Sizes and counts.
    Statistics(RegionStatistics),
}
