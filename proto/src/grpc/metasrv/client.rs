//! `MetasrvApi` over gRPC, calling side.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use futures::{Stream, StreamExt};
use tonic::Status;
use tonic::transport::Channel;
use varve_model::Result;
use varve_model::id::{FrontendId, NodeEpoch, TableId};

use crate::call::Call;
use crate::convert::{call, catalog, heartbeat, procedure, relay};
use crate::grpc::MESSAGE_BYTES_MAX;
use crate::grpc::connect::connect;
use crate::metasrv::{
    Answer, Answers, Beat, BeatReply, Inquiry, Messages, MetasrvApi, News, Outcome, Procedure, RegionReport,
    Registration, Session, Watcher,
};
use crate::status::from_status;
use crate::wire;

/// A metasrv in another process. Cheap to clone; connects at the first call and again after a break.
#[derive(Clone, Debug)]
pub struct MetasrvClient {
    inner: wire::metasrv_client::MetasrvClient<Channel>,
}

impl MetasrvClient {
    /// A client of the metasrv at `host:port`. Errors: `InvalidRequest` for a malformed address.
    ///
    /// Precondition: called within the runtime that will carry the connection.
    pub fn new(address: &str) -> Result<Self> {
        let inner = wire::metasrv_client::MetasrvClient::new(connect(address)?)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Self { inner })
    }
}

/// Beats as messages. A type of its own, because the compiler does not see through a mapped stream
/// in an async trait ("higher-ranked lifetime error").
struct Beats(Messages<Beat>);

impl Stream for Beats {
    type Item = wire::Beat;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<wire::Beat>> {
        self.0.poll_next_unpin(context).map(|beat| beat.map(heartbeat::beat_to_wire))
    }
}

/// Converts a stream; the first error ends it.
fn until_error<T: Send + 'static, M: Send + 'static>(
    messages: impl Stream<Item = Result<M, Status>> + Send + Unpin + 'static,
    convert: fn(M) -> Result<T>,
) -> Messages<Result<T>> {
    let converted = futures::stream::unfold(Some(messages), move |messages| async move {
        let mut messages = messages?;
        match messages.next().await?.map_err(|status| from_status(&status)).and_then(convert) {
            Ok(message) => Some((Ok(message), Some(messages))),
            Err(error) => Some((Err(error), None)),
        }
    });
    Box::pin(converted)
}

#[async_trait]
impl MetasrvApi for MetasrvClient {
    async fn register(&self, context: &Call, registration: Registration) -> Result<Session> {
        let request = call::request(context, heartbeat::registration_to_wire(registration));
        let reply = self.inner.clone().register(request).await.map_err(|status| from_status(&status))?;
        heartbeat::session_from_wire(reply.get_ref())
    }

    async fn heartbeat(
        &self,
        context: &Call,
        session: NodeEpoch,
        beats: Messages<Beat>,
    ) -> Result<Messages<Result<BeatReply>>> {
        let mut request = call::request(context, Beats(beats));
        call::put_session(&mut request, session);
        let reply = self.inner.clone().heartbeat(request).await.map_err(|status| from_status(&status))?;
        Ok(until_error(reply.into_inner(), heartbeat::reply_from_wire))
    }

    async fn watch(&self, context: &Call, watcher: Option<Watcher>) -> Result<Messages<Result<Arc<News>>>> {
        let request = call::request(context, relay::watcher_to_wire(watcher));
        let reply = self.inner.clone().watch(request).await.map_err(|status| from_status(&status))?;
        Ok(until_error(reply.into_inner(), |news| catalog::news_from_wire(news).map(Arc::new)))
    }

    async fn execute(&self, context: &Call, request: Procedure) -> Result<Outcome> {
        let request = call::request(context, procedure::to_wire(request)?);
        let reply = self.inner.clone().execute(request).await.map_err(|status| from_status(&status))?;
        Ok(procedure::outcome_from_wire(reply.get_ref()))
    }

    async fn region_statistics(&self, context: &Call, table: Option<TableId>) -> Result<Vec<RegionReport>> {
        let message = wire::RegionStatisticsRequest { table: table.map(|table| table.0) };
        let reply = self.inner.clone().get_region_statistics(call::request(context, message)).await;
        let reply = reply.map_err(|status| from_status(&status))?;
        Ok(heartbeat::region_reports_from_wire(reply.get_ref()))
    }

    async fn ask(&self, context: &Call, from: FrontendId, inquiry: Inquiry) -> Result<Answers> {
        let message = wire::AskRequest { from: from.0, inquiry: Some(relay::inquiry_to_wire(&inquiry)) };
        let reply = self.inner.clone().ask(call::request(context, message)).await;
        relay::answers_from_wire(reply.map_err(|status| from_status(&status))?.into_inner())
    }

    async fn answer(&self, context: &Call, from: FrontendId, question: u64, answer: Answer) -> Result<()> {
        let answer = Some(relay::answer_to_wire(answer));
        let message = wire::AnswerRequest { from: from.0, question, answer };
        let reply = self.inner.clone().put_answer(call::request(context, message)).await;
        reply.map(drop).map_err(|status| from_status(&status))
    }
}
