//! Runs reads on this datanode's regions: whole fragments of SQL plans, or one region's rows.
//!
//! A fragment's leaves are bound to the regions that are open here, under the
//! epoch the planner believed in; another one is `StaleRoute`, before any row.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use varve_engine::Region;
use varve_model::Result;
use varve_model::budget::Account;
use varve_model::id::RegionId;
use varve_model::scan::ScanSpec;
use varve_proto::call::Call;
use varve_proto::datanode::{BatchStream, ScanReply};
use varve_query::context::Sessions;
use varve_query::fragment;
use varve_query::operator::RegionReader;
use varve_service::task::TaskSet;
use varve_service::telemetry::stage::{Stage, count};

/// Batches that a stream of a region may be ahead of its reader.
const BATCHES_AHEAD: usize = 2;

/// The open region of an id. Errors: `StaleRoute` when it is not here.
pub(crate) type Regions = Arc<dyn Fn(RegionId) -> Result<Arc<Region>> + Send + Sync>;

/// Runs reads.
#[derive(Clone, Debug)]
pub(crate) struct Queries {
    sessions: Sessions,
    reader: Arc<Reader>,
}

impl Queries {
    /// Plans run in `partitions` parallel parts and charge `memory`. Errors: `Internal`.
    pub(crate) fn new(regions: Regions, memory: &Account, partitions: usize, tasks: TaskSet) -> Result<Self> {
        let reader = Arc::new(Reader { regions, tasks });
        Ok(Self { sessions: Sessions::new(memory, partitions)?, reader })
    }

    /// Runs a fragment. Errors: `InvalidRequest` for bytes of another version; `StaleRoute` in the stream.
    pub(crate) async fn fragment(&self, call: &Call, fragment: Bytes) -> Result<ScanReply> {
        let span = tracing::debug_span!("fragment", request = call.request_id);
        let (schema, stream) = async {
            let reader = Arc::clone(&self.reader) as Arc<dyn RegionReader>;
            fragment::decode(&fragment, &self.sessions, reader)?.execute()
        }
        .instrument(span.clone())
        .await?;
        let counted = stream.inspect(|batch| {
            if let Ok(batch) = batch {
                count(Stage::Fragment, batch.num_rows(), batch.get_array_memory_size());
            }
        });
        Ok(ScanReply { schema, stream: Box::pin(counted) })
    }

    /// Rows of one region. Errors: `StaleRoute`, `InvalidRequest`, `Unavailable`, `Corrupt`.
    pub(crate) async fn region(&self, spec: &ScanSpec) -> Result<ScanReply> {
        let scan = (self.reader.regions)(spec.region)?.scan(spec).await?;
        Ok(ScanReply { schema: scan.schema, stream: self.reader.merge(scan.streams) })
    }
}

/// Reads the regions of this datanode.
struct Reader {
    regions: Regions,
    tasks: TaskSet,
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
        let scan = region.scan(&spec).await?;
        Ok(self.merge(scan.streams).boxed())
    }
}

impl Reader {
    /// One stream of many, each read by a task of its own, so that a large region is read on several cores.
    fn merge(&self, mut streams: Vec<BatchStream>) -> BatchStream {
        if streams.len() == 1 {
            return streams.remove(0);
        }
        let (sender, mut receiver) = mpsc::channel(BATCHES_AHEAD * streams.len().max(1));
        let stop = CancellationToken::new();
        for mut stream in streams {
            let (sender, stop) = (sender.clone(), stop.clone());
            self.tasks.spawn("region-scan", async move {
                loop {
                    let next = tokio::select! {
                        () = stop.cancelled() => return,
                        next = stream.next() => next,
                    };
                    let Some(batch) = next else { return };
                    // A reader that is gone wants nothing more.
                    if sender.send(batch).await.is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let guard = stop.drop_guard();
        Box::pin(futures::stream::poll_fn(move |context| {
            let _alive = &guard;
            receiver.poll_recv(context)
        }))
    }
}
