//! `DatanodeApi` over gRPC, serving side.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use varve_model::{Error, Result};

use crate::convert::{call, describe, from_json, missing, write};
use crate::datanode::{DatanodeApi, ScanTicket};
use crate::flight;
use crate::grpc::{Accounts, MESSAGE_BYTES_MAX, Services};
use crate::status::to_status;
use crate::wire;

/// A datanode that may come later than the server, and be followed by its next session.
pub(crate) type Slot = Arc<RwLock<Option<Arc<dyn DatanodeApi>>>>;

#[derive(Debug)]
struct Adapter(Slot);

impl Adapter {
    /// Errors: `Unavailable` before the datanode is there.
    fn api(&self) -> Result<Arc<dyn DatanodeApi>> {
        self.0.read().clone().ok_or_else(|| Error::unavailable("the datanode is starting"))
    }
}

/// Routes to a datanode that is there when it is set.
pub(crate) fn late_routes(api: Slot) -> Routes {
    let service = wire::datanode_server::DatanodeServer::new(Adapter(api))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    Routes::new(service)
}

/// Serves a datanode until `stop`. Errors: `Internal`.
pub async fn serve_datanode(
    api: Arc<dyn DatanodeApi>,
    accounts: Accounts,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<()> {
    let services = Services::new(accounts);
    services.set_datanode(Some(api));
    services.serve(listener, stop).await
}

#[tonic::async_trait]
impl wire::datanode_server::Datanode for Adapter {
    async fn write(&self, request: Request<wire::WriteRequest>) -> Result<Response<wire::WriteReply>, Status> {
        let answer = async {
            let context = call::call(request.metadata())?;
            let reply = self.api()?.write(&context, write::request_from_wire(request.into_inner())?).await?;
            Ok(Response::new(write::reply_to_wire(&reply)))
        };
        answer.await.map_err(|error| to_status(&error))
    }

    type ScanStream = Pin<Box<dyn Stream<Item = Result<wire::ScanChunk, Status>> + Send>>;

    async fn scan(&self, request: Request<wire::ScanRequest>) -> Result<Response<Self::ScanStream>, Status> {
        let answer = async {
            let context = call::call(request.metadata())?;
            let ticket = match request.into_inner().ticket.ok_or_else(|| missing("a ticket"))? {
                wire::scan_request::Ticket::RegionJson(spec) => ScanTicket::Region(from_json("scan", &spec)?),
                wire::scan_request::Ticket::Sql(fragment) => ScanTicket::Sql(fragment),
                wire::scan_request::Ticket::Exchange(ticket) => ScanTicket::Exchange(ticket),
            };
            let chunks: Self::ScanStream = Box::pin(flight::encode(self.api()?.scan(&context, ticket).await?)?);
            Ok(Response::new(chunks))
        };
        answer.await.map_err(|error| to_status(&error))
    }

    async fn describe(&self, request: Request<wire::DescribeRequest>) -> Result<Response<wire::Description>, Status> {
        let answer = async {
            let context = call::call(request.metadata())?;
            let description = self.api()?.describe(&context, describe::request_from_wire(request.get_ref())?).await?;
            Ok(Response::new(describe::description_to_wire(description)))
        };
        answer.await.map_err(|error| to_status(&error))
    }
}
