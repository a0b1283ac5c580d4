//! `MetasrvApi` over gRPC, calling side.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use futures::{Stream, StreamExt};
use prost::Message;
use tonic::{Request, Status};
use varve_model::Result;
use varve_model::budget::{Account, Charge};
use varve_model::id::{FrontendId, NodeEpoch, TableId};

use crate::call::Call;
use crate::convert::{call, catalog, heartbeat, procedure, relay};
use crate::grpc::MESSAGE_BYTES_MAX;
use crate::grpc::charge::{ChargedChannel, unrefused};
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
    inner: wire::metasrv_client::MetasrvClient<ChargedChannel>,
    account: Account,
}

impl MetasrvClient {
    /// A client of the metasrv at `host:port`, charged to the account. Errors: `InvalidRequest` for a malformed
    /// address.
    ///
    /// Precondition: called within the runtime that will carry the connection.
    pub fn new(address: &str, account: &Account) -> Result<Self> {
        let inner = wire::metasrv_client::MetasrvClient::new(connect(address, account)?)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Self { inner, account: account.clone() })
    }

    /// A request, and its charge for as long as the call runs. Never refused: see [`crate::grpc::charge`].
    fn request<M: Message>(&self, context: &Call, message: M) -> (Request<M>, Charge) {
        let charge = unrefused(&self.account, message.encoded_len() as u64);
        (call::request(context, message), charge)
    }
}

/// Beats as messages. A type of its own, because the compiler does not see through a mapped stream
/// in an async trait ("higher-ranked lifetime error").
struct Beats {
    beats: Messages<Beat>,
    /// Of the last one, until the transport asks for the next.
    charge: Charge,
}

impl Stream for Beats {
    type Item = wire::Beat;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<wire::Beat>> {
        let beat = self.beats.poll_next_unpin(context).map(|beat| beat.map(heartbeat::beat_to_wire));
        let bytes = if let Poll::Ready(Some(beat)) = &beat { beat.encoded_len() } else { 0 };
        self.charge.set(bytes as u64);
        beat
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
        let (request, _charge) = self.request(context, heartbeat::registration_to_wire(registration));
        let reply = self.inner.clone().register(request).await.map_err(|status| from_status(&status))?;
        heartbeat::session_from_wire(reply.get_ref())
    }

    async fn heartbeat(
        &self,
        context: &Call,
        session: NodeEpoch,
        beats: Messages<Beat>,
    ) -> Result<Messages<Result<BeatReply>>> {
        let mut request = call::request(context, Beats { beats, charge: self.account.empty() });
        call::put_session(&mut request, session);
        let reply = self.inner.clone().heartbeat(request).await.map_err(|status| from_status(&status))?;
        Ok(until_error(reply.into_inner(), heartbeat::reply_from_wire))
    }

    async fn watch(&self, context: &Call, watcher: Option<Watcher>) -> Result<Messages<Result<Arc<News>>>> {
        let (request, _charge) = self.request(context, relay::watcher_to_wire(watcher));
        let reply = self.inner.clone().watch(request).await.map_err(|status| from_status(&status))?;
        Ok(until_error(reply.into_inner(), |news| catalog::news_from_wire(news).map(Arc::new)))
    }

    async fn execute(&self, context: &Call, request: Procedure) -> Result<Outcome> {
        let (request, _charge) = self.request(context, procedure::to_wire(request)?);
        let reply = self.inner.clone().execute(request).await.map_err(|status| from_status(&status))?;
        Ok(procedure::outcome_from_wire(reply.get_ref()))
    }

    async fn region_statistics(&self, context: &Call, table: Option<TableId>) -> Result<Vec<RegionReport>> {
        let message = wire::RegionStatisticsRequest { table: table.map(|table| table.0) };
        let (request, _charge) = self.request(context, message);
        let reply = self.inner.clone().get_region_statistics(request).await;
        let reply = reply.map_err(|status| from_status(&status))?;
        Ok(heartbeat::region_reports_from_wire(reply.get_ref()))
    }

    async fn ask(&self, context: &Call, from: FrontendId, inquiry: Inquiry) -> Result<Answers> {
        let message = wire::AskRequest { from: from.0, inquiry: Some(relay::inquiry_to_wire(&inquiry)) };
        let (request, _charge) = self.request(context, message);
        let reply = self.inner.clone().ask(request).await.map_err(|status| from_status(&status))?;
        let (_, reply, _charge) = reply.into_parts();
        relay::answers_from_wire(reply)
    }

    async fn answer(&self, context: &Call, from: FrontendId, question: u64, answer: Answer) -> Result<()> {
        let answer = Some(relay::answer_to_wire(answer));
        let message = wire::AnswerRequest { from: from.0, question, answer };
        let (request, _charge) = self.request(context, message);
        let reply = self.inner.clone().put_answer(request).await;
        reply.map(drop).map_err(|status| from_status(&status))
    }
}
