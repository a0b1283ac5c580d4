//! A datanode that keeps rows in a map.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use varve_model::budget::Account;
use varve_model::id::{NodeId, RegionEpoch, RegionId, Sequence};
use varve_model::scan::ScanSpec;
use varve_model::{Error, ErrorKind, Result};
use varve_proto::call::Call;
use varve_proto::datanode::*;
use varve_query::context::Sessions;
use varve_query::exchange::{Exchange, Host, Peer, Worker};
use varve_query::fragment;
use varve_query::operator::{BatchStream as RegionStream, RegionReader};

use super::metasrv::FakeMetasrv;
use super::rows::{RegionRows, to_batch};

#[derive(Debug)]
pub(crate) struct FakeNode {
    shared: Arc<Shared>,
    sessions: Sessions,
    worker: Worker,
    peers: Arc<FakePeers>,
    /// Every write request, in order.
    pub(crate) requests: Mutex<Vec<WriteRequest>>,
    /// Rows answered to scans, and the number of scans.
    sent: Arc<AtomicU64>,
    scans: AtomicU64,
    /// Errors to answer the next writes with.
    pub(crate) failures: Mutex<Vec<Error>>,
}

#[derive(Debug)]
struct Shared {
    id: NodeId,
    metasrv: Arc<FakeMetasrv>,
    regions: Mutex<BTreeMap<RegionId, RegionRows>>,
}

/// All nodes, as one of them reaches the others.
#[derive(Debug, Default)]
pub(crate) struct FakePeers(OnceLock<Vec<Weak<FakeNode>>>);

#[async_trait]
impl Exchange for FakePeers {
    async fn open(&self, peer: &Peer, ticket: Bytes) -> Result<RegionStream> {
        let node = self.0.get().unwrap()[peer.node.0 as usize - 1].upgrade().unwrap();
        Ok(node.serve(&ticket).await?.stream)
    }
}

impl FakeNode {
    pub(crate) fn new(id: NodeId, metasrv: Arc<FakeMetasrv>) -> Self {
        let sessions = Sessions::new(&Account::root("node", 1 << 30), 2).unwrap();
        Self {
            shared: Arc::new(Shared { id, metasrv, regions: Mutex::default() }),
            worker: Worker::new(&sessions),
            peers: Arc::default(),
            sessions,
            requests: Mutex::default(),
            sent: Arc::default(),
            scans: AtomicU64::new(0),
            failures: Mutex::default(),
        }
    }

    fn counted(&self, reply: ScanReply) -> ScanReply {
        let sent = Arc::clone(&self.sent);
        let counted = reply.stream.inspect(move |batch| {
            let rows = batch.as_ref().map_or(0, |batch| batch.num_rows());
            sent.fetch_add(rows as u64, Ordering::Relaxed);
        });
        ScanReply { schema: reply.schema, stream: Box::pin(counted) }
    }

    /// Lets it reach all of them.
    pub(crate) fn meet(&self, all: &[Arc<Self>]) {
        self.peers.0.set(all.iter().map(Arc::downgrade).collect()).unwrap();
    }

    /// Tasks of stages that queries hold here.
    pub(crate) fn held(&self) -> u64 {
        self.worker.held()
    }

    async fn serve(&self, ticket: &Bytes) -> Result<ScanReply> {
        let host = Host {
            reader: Arc::clone(&self.shared) as Arc<dyn RegionReader>,
            exchange: Arc::clone(&self.peers) as Arc<dyn Exchange>,
        };
        let (schema, stream) = self.worker.serve(ticket, host).await?;
        Ok(ScanReply { schema, stream })
    }

    pub(crate) fn rows_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn scans(&self) -> u64 {
        self.scans.load(Ordering::Relaxed)
    }

    /// Gives each the rows of the other.
    pub(crate) fn swap(&self, other: &Self) {
        std::mem::swap(&mut *self.shared.regions.lock(), &mut *other.shared.regions.lock());
    }

    /// Takes over another node's rows, as a new owner would.
    pub(crate) fn adopt(&self, other: &Self) {
        let rows = std::mem::take(&mut *other.shared.regions.lock());
        self.shared.regions.lock().extend(rows);
    }
}

impl Shared {
    fn check(&self, region: RegionId, epoch: RegionEpoch) -> Result<()> {
        match self.metasrv.route(region) {
            Some(route) if route.node == self.id && route.epoch == epoch => Ok(()),
            _ => Err(Error::new(ErrorKind::StaleRoute, format!("region {region} is not here"))),
        }
    }

    fn write(&self, write: RegionWrite) -> Result<WriteAck> {
        let mut regions = self.regions.lock();
        let rows = match write {
            RegionWrite::Insert(batch) => {
                self.check(batch.region, batch.epoch)?;
                batch.check()?;
                regions.entry(batch.region).or_default().insert(&batch)
            }
            RegionWrite::Delete(delete) => {
                self.check(delete.region, delete.epoch)?;
                regions.entry(delete.region).or_default().delete(&delete)
            }
        };
        Ok(WriteAck { sequence: Sequence(1), rows })
    }
}

#[async_trait]
impl RegionReader for Shared {
    async fn read(&self, spec: ScanSpec) -> Result<RegionStream> {
        self.check(spec.region, spec.epoch)?;
        let schema = self.metasrv.table(spec.region.table()).schema.clone();
        let regions = self.regions.lock();
        let batch = to_batch(regions.get(&spec.region), &spec, &schema);
        Ok(stream::iter([Ok(batch)]).boxed())
    }
}

#[async_trait]
impl DatanodeApi for FakeNode {
    async fn write(&self, _: &Call, request: WriteRequest) -> Result<WriteReply> {
        self.requests.lock().push(request.clone());
        if let Some(error) = self.failures.lock().pop() {
            return Ok(WriteReply { parts: vec![Err(error)] });
        }
        Ok(WriteReply { parts: request.writes.into_iter().map(|write| self.shared.write(write)).collect() })
    }

    async fn scan(&self, _: &Call, ticket: ScanTicket) -> Result<ScanReply> {
        self.scans.fetch_add(1, Ordering::Relaxed);
        match ticket {
            ScanTicket::Region(spec) => {
                let mut stream = self.shared.read(spec).await?.peekable();
                let first = std::pin::Pin::new(&mut stream).peek().await.unwrap().as_ref().unwrap().schema();
                Ok(ScanReply { schema: first, stream: Box::pin(stream) })
            }
            ScanTicket::Sql(bytes) => {
                let reader = Arc::clone(&self.shared) as Arc<dyn RegionReader>;
                let (schema, stream) = fragment::decode(&bytes, &self.sessions, reader)?.execute()?;
                Ok(self.counted(ScanReply { schema, stream }))
            }
            ScanTicket::Exchange(ticket) => Ok(self.counted(self.serve(&ticket).await?)),
        }
    }

    async fn describe(&self, _: &Call, _: DescribeRequest) -> Result<Description> {
        Err(Error::unsupported("the fake describes nothing"))
    }
}
