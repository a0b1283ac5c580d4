//! The other datanodes of a query: stages that exchange rows read from each other.
//!
//! The only calls of a datanode to another one, made on behalf of a frontend's
//! call and within its time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use varve_model::Result;
use varve_model::id::NodeId;
use varve_proto::call::Call;
use varve_proto::datanode::{DatanodeApi, ScanTicket};
use varve_query::exchange::{Exchange, Peer};
use varve_query::operator::BatchStream;
use varve_service::clock::SharedClock;
use varve_service::telemetry::stage::{Stage, count};

/// Makes a client of the datanode at an address.
pub type Connect = Arc<dyn Fn(NodeId, &str) -> Result<Arc<dyn DatanodeApi>> + Send + Sync>;

/// A client and the address that it was made for.
type Open = (String, Arc<dyn DatanodeApi>);

/// Clients of other datanodes, made when first needed and again when a node moved. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Peers(Arc<Inner>);

struct Inner {
    connect: Connect,
    clock: SharedClock,
    open: Mutex<BTreeMap<NodeId, Open>>,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("open", &self.0.open.lock().keys()).finish_non_exhaustive()
    }
}

impl Peers {
    pub(crate) fn new(connect: Connect, clock: SharedClock) -> Self {
        Self(Arc::new(Inner { connect, clock, open: Mutex::default() }))
    }

    /// The peers for the work that this call asks for.
    pub(super) fn asked_by(&self, call: &Call) -> Asked {
        Asked { peers: self.clone(), call: call.clone(), end: self.0.clock.boot() + call.timeout }
    }

    fn client(&self, peer: &Peer) -> Result<Arc<dyn DatanodeApi>> {
        let mut open = self.0.open.lock();
        if let Some((known, client)) = open.get(&peer.node)
            && *known == peer.address
        {
            return Ok(Arc::clone(client));
        }
        let client = (self.0.connect)(peer.node, &peer.address)?;
        open.insert(peer.node, (peer.address.clone(), Arc::clone(&client)));
        Ok(client)
    }
}

/// The peers, with what the calls to them carry.
#[derive(Debug)]
pub(super) struct Asked {
    peers: Peers,
    call: Call,
    /// When the asking call ends, on the clock that counts through suspend.
    end: Duration,
}

#[async_trait]
impl Exchange for Asked {
    async fn open(&self, peer: &Peer, ticket: Bytes) -> Result<BatchStream> {
        let timeout = self.end.saturating_sub(self.peers.0.clock.boot());
        let call = Call { timeout, ..self.call.clone() };
        let reply = self.peers.client(peer)?.scan(&call, ScanTicket::Exchange(ticket)).await?;
        let counted = reply.stream.inspect(|batch| {
            if let Ok(batch) = batch {
                count(Stage::Shuffle, batch.num_rows(), batch.get_array_memory_size());
            }
        });
        Ok(counted.boxed())
    }
}
