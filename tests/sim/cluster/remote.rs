//! Metasrv and datanodes as a process of another machine sees them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use varve_datanode::Datanode;
use varve_metasrv::Member;
use varve_model::Result;
use varve_model::id::{FrontendId, NodeEpoch, RegionEpoch, RegionId, TableId};
use varve_proto::call::Call;
use varve_proto::datanode::{
    BatchStream, DatanodeApi, DescribeRequest, Description, RegionWrite, ScanReply, ScanTicket, WriteReply,
    WriteRequest,
};
use varve_proto::metasrv::{
    Answer, Answers, Beat, BeatReply, Inquiry, Messages, MetasrvApi, News, Outcome, Procedure, RegionReport,
    Registration, Session, Watcher,
};
use varve_service::task::TaskSet;

use super::ledger::Ledger;
use super::network::{Link, Slot, broken_end, broken_result};

/// One member of metasrv.
#[derive(Debug)]
pub(crate) struct RemoteMetasrv {
    pub(crate) link: Link,
    /// Of the caller: what it streams is sent by them.
    pub(crate) tasks: TaskSet,
    pub(crate) slot: Slot<Member>,
    pub(crate) ledger: Arc<Ledger>,
}

#[async_trait]
impl MetasrvApi for RemoteMetasrv {
    async fn register(&self, call: &Call, registration: Registration) -> Result<Session> {
        let ledger = Arc::clone(&self.ledger);
        let work = |running: super::network::Running<Member>, call: Call| -> futures::future::BoxFuture<'static, _> {
            Box::pin(async move {
                let session = running.service.register(&call, registration).await?;
                ledger.registered(session.epoch);
                Ok(session)
            })
        };
        self.link.call(call, &self.slot, work).await
    }

    async fn heartbeat(
        &self,
        call: &Call,
        session: NodeEpoch,
        beats: Messages<Beat>,
    ) -> Result<Messages<Result<BeatReply>>> {
        let beats = self.link.stream(&self.tasks, beats, broken_end);
        let back = self.link.back();
        self.link
            .call(call, &self.slot, |running, call| {
                Box::pin(async move {
                    let replies = running.service.heartbeat(&call, session, beats).await?;
                    Ok(back.stream(&running.tasks, replies, broken_result))
                })
            })
            .await
    }

    async fn watch(&self, call: &Call, watcher: Option<Watcher>) -> Result<Messages<Result<Arc<News>>>> {
        let back = self.link.back();
        self.link
            .call(call, &self.slot, |running, call| {
                Box::pin(async move {
                    let news = running.service.watch(&call, watcher).await?;
                    Ok(back.stream(&running.tasks, news, broken_result))
                })
            })
            .await
    }

    async fn execute(&self, call: &Call, procedure: Procedure) -> Result<Outcome> {
        self.link
            .call(call, &self.slot, |running, call| {
                Box::pin(async move { running.service.execute(&call, procedure).await })
            })
            .await
    }

    async fn region_statistics(&self, call: &Call, table: Option<TableId>) -> Result<Vec<RegionReport>> {
        self.link
            .call(call, &self.slot, |running, call| {
                Box::pin(async move { running.service.region_statistics(&call, table).await })
            })
            .await
    }

    async fn ask(&self, call: &Call, from: FrontendId, inquiry: Inquiry) -> Result<Answers> {
        self.link
            .call(call, &self.slot, move |running, call| {
                Box::pin(async move { running.service.ask(&call, from, inquiry).await })
            })
            .await
    }

    async fn answer(&self, call: &Call, from: FrontendId, question: u64, answer: Answer) -> Result<()> {
        self.link
            .call(call, &self.slot, move |running, call| {
                Box::pin(async move { running.service.answer(&call, from, question, answer).await })
            })
            .await
    }
}

/// One datanode.
#[derive(Debug)]
pub(crate) struct RemoteDatanode {
    pub(crate) link: Link,
    pub(crate) slot: Slot<Datanode>,
    pub(crate) ledger: Arc<Ledger>,
    /// How long the caller may take before it reads the first rows of a scan.
    pub(crate) pace: Duration,
}

/// The stream of a caller that is slow: nothing is read for it before it has room.
fn slow(stream: BatchStream, link: Link, pace: Duration) -> BatchStream {
    let begin = async move {
        link.rest(pace).await;
        stream
    };
    Box::pin(futures::stream::once(begin).flatten())
}

fn claim_of(write: &RegionWrite) -> (RegionId, RegionEpoch) {
    match write {
        RegionWrite::Insert(batch) => (batch.region, batch.epoch),
        RegionWrite::Delete(delete) => (delete.region, delete.epoch),
    }
}

#[async_trait]
impl DatanodeApi for RemoteDatanode {
    async fn write(&self, call: &Call, request: WriteRequest) -> Result<WriteReply> {
        let ledger = Arc::clone(&self.ledger);
        self.link
            .call(call, &self.slot, |running, call| {
                Box::pin(async move {
                    let claims = request.writes.iter().map(claim_of).collect::<Vec<_>>();
                    let reply = running.service.write(&call, request).await?;
                    for (claim, part) in claims.into_iter().zip(&reply.parts) {
                        if part.is_ok() {
                            ledger.acked(claim, running.life);
                        }
                    }
                    Ok(reply)
                })
            })
            .await
    }

    async fn scan(&self, call: &Call, ticket: ScanTicket) -> Result<ScanReply> {
        let (back, pace) = (self.link.back(), self.pace);
        self.link
            .call(call, &self.slot, move |running, call| {
                Box::pin(async move {
                    let reply = running.service.scan(&call, ticket).await?;
                    let stream = if pace.is_zero() { reply.stream } else { slow(reply.stream, back.clone(), pace) };
                    let stream = back.stream(&running.tasks, stream, broken_result);
                    Ok(ScanReply { schema: reply.schema, stream })
                })
            })
            .await
    }

    async fn describe(&self, call: &Call, request: DescribeRequest) -> Result<Description> {
        self.link
            .call(call, &self.slot, |running, call| {
                Box::pin(async move { running.service.describe(&call, request).await })
            })
            .await
    }
}
