//! `DatanodeApi` over gRPC, calling side.
//!
//! Scans have a connection of their own: however many of them wait for their
//! readers, writes and questions are answered. One above its streams is refused:
//! waiting for a stream that ends, while its query's others wait for it, may be
//! waiting forever.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use prost::Message;
use tokio::sync::Semaphore;
use varve_model::budget::Account;
use varve_model::{Error, Result};

use crate::call::Call;
use crate::convert::{call, describe, to_json, write};
use crate::datanode::{DatanodeApi, DescribeRequest, Description, ScanReply, ScanTicket, WriteReply, WriteRequest};
use crate::flight;
use crate::grpc::charge::ChargedChannel;
use crate::grpc::connect::{connect, connect_for};
use crate::grpc::{MESSAGE_BYTES_MAX, window};
use crate::status::from_status;
use crate::wire;

type Inner = wire::datanode_client::DatanodeClient<ChargedChannel>;

/// A datanode in another process. Cheap to clone; connects at the first call and again after a break.
#[derive(Clone, Debug)]
pub struct DatanodeClient {
    /// For calls of one answer: write and describe.
    calls: Inner,
    /// For calls whose answers are read at the caller's pace.
    scans: Inner,
    /// Streams that scans may still open.
    free: Arc<Semaphore>,
    /// What requests, answers and windows of open scans are charged to.
    account: Account,
}

impl DatanodeClient {
    /// A client of the datanode at `host:port`, charged to the account. Errors: `InvalidRequest` for a malformed
    /// address.
    ///
    /// Precondition: called within the runtime that will carry the connection.
    pub fn new(address: &str, account: &Account) -> Result<Self> {
        Self::with_scans(address, account, window::STREAMS_MAX)
    }

    /// As [`new`](Self::new), for so many scans at once.
    pub(super) fn with_scans(address: &str, account: &Account, scans: u32) -> Result<Self> {
        let client = |channel| {
            Inner::new(channel)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX)
        };
        let free = Arc::new(Semaphore::new(scans as usize));
        let (calls, scans) = (connect(address, account)?, connect_for(address, account, scans)?);
        Ok(Self { calls: client(calls), scans: client(scans), free, account: account.clone() })
    }
}

#[async_trait]
impl DatanodeApi for DatanodeClient {
    async fn write(&self, context: &Call, request: WriteRequest) -> Result<WriteReply> {
        let writes = request.writes.len();
        let message = write::request_to_wire(&request)?;
        // From here on the message has the rows.
        drop(request);
        let _until_answered = self.account.admit(message.encoded_len() as u64)?;
        let request = call::request(context, message);
        let reply = self.calls.clone().write(request).await.map_err(|status| from_status(&status))?;
        let (_, reply, _charge) = reply.into_parts();
        write::reply_from_wire(reply, writes)
    }

    async fn scan(&self, context: &Call, ticket: ScanTicket) -> Result<ScanReply> {
        let open = Arc::clone(&self.free).try_acquire_owned();
        let open = open.map_err(|_| Error::busy("too many reads of one datanode wait for their readers"))?;
        let ticket = match ticket {
            ScanTicket::Region(spec) => wire::scan_request::Ticket::RegionJson(to_json("scan", &spec)?),
            ScanTicket::Sql(fragment) => wire::scan_request::Ticket::Sql(fragment),
            ScanTicket::Exchange(ticket) => wire::scan_request::Ticket::Exchange(ticket),
        };
        let message = wire::ScanRequest { ticket: Some(ticket) };
        let until_answered = self.account.admit(message.encoded_len() as u64)?;
        let window = self.account.charge(u64::from(window::STREAM_WINDOW_BYTES))?;
        let request = call::request(context, message);
        let reply = self.scans.clone().scan(request).await.map_err(|status| from_status(&status))?;
        drop(until_answered);
        let ScanReply { schema, stream } = flight::decode(reply.into_inner()).await?;
        let stream = stream.map(move |batch| {
            let _until_dropped = (&open, &window);
            batch
        });
        Ok(ScanReply { schema, stream: stream.boxed() })
    }

    async fn describe(&self, context: &Call, request: DescribeRequest) -> Result<Description> {
        let message = describe::request_to_wire(&request)?;
        let _until_answered = self.account.admit(message.encoded_len() as u64)?;
        let request = call::request(context, message);
        let reply = self.calls.clone().describe(request).await.map_err(|status| from_status(&status))?;
        let (_, reply, _charge) = reply.into_parts();
        describe::description_from_wire(reply)
    }
}
