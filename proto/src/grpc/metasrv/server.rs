//! `MetasrvApi` over gRPC, serving side.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};
use varve_model::Result;
use varve_model::id::{FrontendId, TableId};

use crate::convert::{call, catalog, heartbeat, procedure, relay};
use crate::grpc::{Accounts, MESSAGE_BYTES_MAX, Services};
use crate::metasrv::{Messages, MetasrvApi};
use crate::status::to_status;
use crate::wire;

#[derive(Debug)]
struct Adapter(Arc<dyn MetasrvApi>);

/// Adds routes to a metasrv.
pub(crate) fn add_routes(routes: Routes, api: Arc<dyn MetasrvApi>) -> Routes {
    let service = wire::metasrv_server::MetasrvServer::new(Adapter(api))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    routes.add_service(service)
}

/// Serves a metasrv until `stop`. Errors: `Internal`.
pub async fn serve_metasrv(
    api: Arc<dyn MetasrvApi>,
    accounts: Accounts,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<()> {
    Services::new(accounts).with_metasrv(api).serve(listener, stop).await
}

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Converts a stream; errors become their status.
fn replies<T: Send + 'static, M: Send + 'static>(
    messages: Messages<Result<T>>,
    convert: fn(T) -> Result<M>,
) -> Replies<M> {
    Box::pin(messages.map(move |message| message.and_then(convert).map_err(|error| to_status(&error))))
}

#[tonic::async_trait]
impl wire::metasrv_server::Metasrv for Adapter {
    async fn register(&self, request: Request<wire::Registration>) -> Result<Response<wire::Session>, Status> {
        let answer = async {
            let context = call::call(request.metadata())?;
            let registration = heartbeat::registration_from_wire(request.into_inner())?;
            let session = self.0.register(&context, registration).await?;
            Ok(Response::new(heartbeat::session_to_wire(&session)))
        };
        answer.await.map_err(|error| to_status(&error))
    }

    type HeartbeatStream = Replies<wire::BeatReply>;

    async fn heartbeat(
        &self,
        request: Request<Streaming<wire::Beat>>,
    ) -> Result<Response<Self::HeartbeatStream>, Status> {
        let answer = async {
            let context = call::call(request.metadata())?;
            let session = call::session(request.metadata())?;
            // A connection that breaks ends the beats; the error itself says nothing more.
            let beats = request.into_inner().take_while(|beat| std::future::ready(beat.is_ok()));
            let beats = beats.filter_map(|beat| std::future::ready(beat.ok().map(heartbeat::beat_from_wire)));
            let messages = self.0.heartbeat(&context, session, Box::pin(beats)).await?;
            Ok(Response::new(replies(messages, heartbeat::reply_to_wire)))
        };
        answer.await.map_err(|error| to_status(&error))
    }

    type WatchStream = Replies<wire::News>;

    async fn watch(&self, request: Request<wire::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let answer = async {
            let context = call::call(request.metadata())?;
            let watcher = relay::watcher_from_wire(request.get_ref())?;
            let messages = self.0.watch(&context, watcher).await?;
            Ok(Response::new(replies(messages, |news| catalog::news_to_wire(&news))))
        };
        answer.await.map_err(|error| to_status(&error))
    }

    async fn execute(&self, request: Request<wire::Procedure>) -> Result<Response<wire::Outcome>, Status> {
        let answer = async {
            let context = call::call(request.metadata())?;
            let outcome = self.0.execute(&context, procedure::from_wire(request.into_inner())?).await?;
            Ok(Response::new(procedure::outcome_to_wire(&outcome)))
        };
        answer.await.map_err(|error| to_status(&error))
    }

    async fn get_region_statistics(
        &self,
        request: Request<wire::RegionStatisticsRequest>,
    ) -> Result<Response<wire::RegionReports>, Status> {
        let answer = async {
            let context = call::call(request.metadata())?;
            let reports = self.0.region_statistics(&context, request.get_ref().table.map(TableId)).await?;
            Ok(Response::new(heartbeat::region_reports_to_wire(&reports)))
        };
        answer.await.map_err(|error| to_status(&error))
    }

    async fn ask(&self, request: Request<wire::AskRequest>) -> Result<Response<wire::AskReply>, Status> {
        let answer = async {
            let context = call::call(request.metadata())?;
            let wire::AskRequest { from, inquiry } = request.into_inner();
            let inquiry = relay::inquiry_from_wire(inquiry)?;
            let answers = self.0.ask(&context, FrontendId(from), inquiry).await?;
            Ok(Response::new(relay::answers_to_wire(answers)))
        };
        answer.await.map_err(|error| to_status(&error))
    }

    async fn put_answer(&self, request: Request<wire::AnswerRequest>) -> Result<Response<wire::AnswerReply>, Status> {
        let answer = async {
            let context = call::call(request.metadata())?;
            let wire::AnswerRequest { from, question, answer } = request.into_inner();
            let answer = relay::answer_from_wire(answer)?;
            self.0.answer(&context, FrontendId(from), question, answer).await?;
            Ok(Response::new(wire::AnswerReply {}))
        };
        answer.await.map_err(|error| to_status(&error))
    }
}
