//! `DatanodeApi` over gRPC, calling side.

use async_trait::async_trait;
use tonic::transport::Channel;
use varve_model::Result;

use crate::call::Call;
use crate::convert::{call, describe, to_json, write};
use crate::datanode::{DatanodeApi, DescribeRequest, Description, ScanReply, ScanTicket, WriteReply, WriteRequest};
use crate::flight;
use crate::grpc::MESSAGE_BYTES_MAX;
use crate::grpc::connect::connect;
use crate::status::from_status;
use crate::wire;

/// A datanode in another process. Cheap to clone; connects at the first call and again after a break.
#[derive(Clone, Debug)]
pub struct DatanodeClient {
    inner: wire::datanode_client::DatanodeClient<Channel>,
}

impl DatanodeClient {
    /// A client of the datanode at `host:port`. Errors: `InvalidRequest` for a malformed address.
    ///
    /// Precondition: called within the runtime that will carry the connection.
    pub fn new(address: &str) -> Result<Self> {
        let inner = wire::datanode_client::DatanodeClient::new(connect(address)?)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Self { inner })
    }
}

#[async_trait]
impl DatanodeApi for DatanodeClient {
    async fn write(&self, context: &Call, request: WriteRequest) -> Result<WriteReply> {
        let writes = request.writes.len();
        let request = call::request(context, write::request_to_wire(&request)?);
        let reply = self.inner.clone().write(request).await.map_err(|status| from_status(&status))?;
        write::reply_from_wire(reply.into_inner(), writes)
    }

    async fn scan(&self, context: &Call, ticket: ScanTicket) -> Result<ScanReply> {
        let ticket = match ticket {
            ScanTicket::Region(spec) => wire::scan_request::Ticket::RegionJson(to_json("scan", &spec)?),
            ScanTicket::Sql(fragment) => wire::scan_request::Ticket::Sql(fragment),
            ScanTicket::Exchange(ticket) => wire::scan_request::Ticket::Exchange(ticket),
        };
        let request = call::request(context, wire::ScanRequest { ticket: Some(ticket) });
        let reply = self.inner.clone().scan(request).await.map_err(|status| from_status(&status))?;
        flight::decode(reply.into_inner()).await
    }

    async fn describe(&self, context: &Call, request: DescribeRequest) -> Result<Description> {
        let request = call::request(context, describe::request_to_wire(&request)?);
        let reply = self.inner.clone().describe(request).await.map_err(|status| from_status(&status))?;
        describe::description_from_wire(reply.into_inner())
    }
}
