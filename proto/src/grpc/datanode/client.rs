//! `DatanodeApi` over gRPC, calling side.
//!
//! Scans have a connection of their own: however many of them wait for their
//! readers, writes and questions are answered. One above its streams is refused:
//! waiting for a stream that ends, while its query's others wait for it, may be
//! waiting forever.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use tokio::sync::Semaphore;
use tonic::transport::Channel;
use varve_model::{Error, Result};

use crate::call::Call;
use crate::convert::{call, describe, to_json, write};
use crate::datanode::{DatanodeApi, DescribeRequest, Description, ScanReply, ScanTicket, WriteReply, WriteRequest};
use crate::flight;
use crate::grpc::connect::{connect, connect_for};
use crate::grpc::{MESSAGE_BYTES_MAX, window};
use crate::status::from_status;
use crate::wire;

type Inner = wire::datanode_client::DatanodeClient<Channel>;

/// A datanode in another process. Cheap to clone; connects at the first call and again after a break.
#[derive(Clone, Debug)]
pub struct DatanodeClient {
    /// For calls of one answer: write and describe.
    calls: Inner,
    /// For calls whose answers are read at the caller's pace.
    scans: Inner,
    /// Streams that scans may still open.
    free: Arc<Semaphore>,
}

impl DatanodeClient {
    /// A client of the datanode at `host:port`. Errors: `InvalidRequest` for a malformed address.
    ///
    /// Precondition: called within the runtime that will carry the connection.
    pub fn new(address: &str) -> Result<Self> {
        Self::with_scans(address, window::STREAMS_MAX)
    }

    /// As [`new`](Self::new), for so many scans at once.
    pub(super) fn with_scans(address: &str, scans: u32) -> Result<Self> {
        let client = |channel| {
            Inner::new(channel)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX)
        };
        let free = Arc::new(Semaphore::new(scans as usize));
        Ok(Self { calls: client(connect(address)?), scans: client(connect_for(address, scans)?), free })
    }
}

#[async_trait]
impl DatanodeApi for DatanodeClient {
    async fn write(&self, context: &Call, request: WriteRequest) -> Result<WriteReply> {
        let writes = request.writes.len();
        let request = call::request(context, write::request_to_wire(&request)?);
        let reply = self.calls.clone().write(request).await.map_err(|status| from_status(&status))?;
        write::reply_from_wire(reply.into_inner(), writes)
    }

    async fn scan(&self, context: &Call, ticket: ScanTicket) -> Result<ScanReply> {
        let open = Arc::clone(&self.free).try_acquire_owned();
        let open = open.map_err(|_| Error::busy("too many reads of one datanode wait for their readers"))?;
        let ticket = match ticket {
            ScanTicket::Region(spec) => wire::scan_request::Ticket::RegionJson(to_json("scan", &spec)?),
            ScanTicket::Sql(fragment) => wire::scan_request::Ticket::Sql(fragment),
            ScanTicket::Exchange(ticket) => wire::scan_request::Ticket::Exchange(ticket),
        };
        let request = call::request(context, wire::ScanRequest { ticket: Some(ticket) });
        let reply = self.scans.clone().scan(request).await.map_err(|status| from_status(&status))?;
        let ScanReply { schema, stream } = flight::decode(reply.into_inner()).await?;
        let stream = stream.map(move |batch| {
            let _until_dropped = &open;
            batch
        });
        Ok(ScanReply { schema, stream: stream.boxed() })
    }

    async fn describe(&self, context: &Call, request: DescribeRequest) -> Result<Description> {
        let request = call::request(context, describe::request_to_wire(&request)?);
        let reply = self.calls.clone().describe(request).await.map_err(|status| from_status(&status))?;
        describe::description_from_wire(reply.into_inner())
    }
}
