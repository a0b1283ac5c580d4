//! Runs reads on this datanode's regions: fragments and stages of SQL plans, or one region's rows.
//!
//! Their leaves are bound to the regions that are open here, under the
//! epoch the planner believed in; another one is `StaleRoute`, before any row.

use std::fmt;
use std::sync::Arc;
use std::task::Poll;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};
use varve_engine::Region;
use varve_model::budget::Account;
use varve_model::id::RegionId;
use varve_model::scan::ScanSpec;
use varve_model::{Error, Result};
use varve_proto::call::Call;
use varve_proto::datanode::{BatchStream, ScanReply};
use varve_query::context::Sessions;
use varve_query::exchange::{Host, Worker};
use varve_query::fragment;
use varve_query::operator::RegionReader;
use varve_service::task::TaskSet;
use varve_service::telemetry::stage::{Stage, counted};

mod peers;
#[cfg(test)]
mod tests;

pub(crate) use peers::Peers;

/// Batches that a stream of a region may be ahead of its reader.
const BATCHES_AHEAD: usize = 2;

/// The open region of an id. Errors: `StaleRoute` when it is not here.
pub(crate) type Regions = Arc<dyn Fn(RegionId) -> Result<Arc<Region>> + Send + Sync>;

/// Runs reads.
#[derive(Clone, Debug)]
pub(crate) struct Queries {
    sessions: Sessions,
    reader: Reader,
    worker: Worker,
    peers: Peers,
}

impl Queries {
    /// Plans run in `partitions` parallel parts and charge `memory`. Errors: `Internal`.
    pub(crate) fn new(
        regions: Regions,
        memory: &Account,
        partitions: usize,
        tasks: TaskSet,
        peers: Peers,
    ) -> Result<Self> {
        let reader = Reader { regions, tasks, span: Span::none() };
        let sessions = Sessions::new(memory, partitions)?;
        let worker = Worker::new(&sessions);
        Ok(Self { sessions, reader, worker, peers })
    }

    fn reader_in(&self, span: &Span) -> Arc<dyn RegionReader> {
        Arc::new(Reader { span: span.clone(), ..self.reader.clone() })
    }

    /// Runs a fragment. Errors: `InvalidRequest` for bytes of another version; `StaleRoute` in the stream.
    pub(crate) async fn fragment(&self, call: &Call, fragment: Bytes) -> Result<ScanReply> {
        let span = tracing::info_span!("fragment", request = call.request_id, trace = call.traceparent);
        let (schema, stream) = async {
            let reader = self.reader_in(&span);
            fragment::decode(&fragment, &self.sessions, reader)?.execute()
        }
        .instrument(span.clone())
        .await?;
        Ok(ScanReply { schema, stream: counted(stream, Stage::Fragment).boxed() })
    }

    /// Holds a task of a stage, or answers rows of one. Errors: `InvalidRequest` for bytes of another version;
    /// `Unavailable` when the task is not here; those of leaves and other nodes come in the stream.
    pub(crate) async fn exchange(&self, call: &Call, ticket: Bytes) -> Result<ScanReply> {
        let span = tracing::info_span!("exchange", request = call.request_id, trace = call.traceparent);
        let host = Host { reader: self.reader_in(&span), exchange: Arc::new(self.peers.asked_by(call)) };
        let (schema, stream) = self.worker.serve(&ticket, host).instrument(span).await?;
        let stop = self.reader.tasks.token().clone();
        Ok(ScanReply { schema, stream: Box::pin(unless_stopped(counted(stream, Stage::Fragment), stop)) })
    }

    /// Rows of one region. Errors: `StaleRoute`, `InvalidRequest`, `Unavailable`, `Corrupt`.
    pub(crate) async fn region(&self, call: &Call, spec: &ScanSpec) -> Result<ScanReply> {
        let span = tracing::info_span!("region", request = call.request_id, trace = call.traceparent);
        let scan = (self.reader.regions)(spec.region)?.scan(spec).instrument(span).await?;
        Ok(ScanReply { schema: scan.schema, stream: self.reader.merge(scan.streams) })
    }
}

/// Reads the regions of this datanode.
#[derive(Clone)]
struct Reader {
    regions: Regions,
    tasks: TaskSet,
    /// Of the call that reads: plans run their leaves in tasks of their own.
    span: Span,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

#[async_trait]
impl RegionReader for Reader {
    async fn read(&self, spec: ScanSpec) -> Result<varve_query::operator::BatchStream> {
        let region = (self.regions)(spec.region)?;
        let scan = region.scan(&spec).instrument(self.span.clone()).await?;
        Ok(self.merge(scan.streams).boxed())
    }
}

impl Reader {
    /// One stream of many, each read by a task of its own, so that a large region is read on several cores.
    fn merge(&self, mut streams: Vec<BatchStream>) -> BatchStream {
        if streams.len() == 1 {
            return streams.remove(0);
        }
        let mut reading = streams.len();
        let (sender, mut receiver) = mpsc::channel(BATCHES_AHEAD * reading.max(1));
        let stop = CancellationToken::new();
        for mut stream in streams {
            let (sender, stop) = (sender.clone(), stop.clone());
            self.tasks.spawn("region-scan", async move {
                loop {
                    let next = tokio::select! {
                        () = stop.cancelled() => return,
                        next = stream.next() => next,
                    };
                    let has_ended = next.is_none();
                    // A reader that is gone wants nothing more.
                    if sender.send(next).await.is_err() || has_ended {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let guard = stop.drop_guard();
        Box::pin(futures::stream::poll_fn(move |context| {
            let _alive = &guard;
            loop {
                match std::task::ready!(receiver.poll_recv(context)) {
                    Some(Some(batch)) => return Poll::Ready(Some(batch)),
                    Some(None) => reading -= 1,
                    None if reading == 0 => return Poll::Ready(None),
                    // Its session was ended: what is missing must not look like the end.
                    None => {
                        reading = 0;
                        return Poll::Ready(Some(Err(stopped())));
                    }
                }
            }
        }))
    }
}

/// The stream, ended by an error when the datanode's session is over.
fn unless_stopped(
    stream: impl Stream<Item = Result<RecordBatch>> + Send + 'static,
    stop: CancellationToken,
) -> impl Stream<Item = Result<RecordBatch>> + Send {
    let state = Some((stream.boxed(), stop));
    futures::stream::unfold(state, |state| async move {
        let (mut stream, stop) = state?;
        tokio::select! {
            biased;
            () = stop.cancelled() => Some((Err(stopped()), None)),
            next = stream.next() => next.map(|batch| (batch, Some((stream, stop)))),
        }
    })
}

fn stopped() -> Error {
    Error::unavailable("the datanode stopped while it was read")
}
