//! The other datanodes of a query: stages that exchange rows read from each other.
//!
//! The only calls of a datanode to another one, made on behalf of a frontend's
//! call and within its time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use varve_model::Result;
use varve_proto::call::Call;
use varve_proto::datanode::{Clients, Connect, ScanTicket};
use varve_query::exchange::{Exchange, Peer};
use varve_query::operator::BatchStream;
use varve_service::clock::SharedClock;
use varve_service::telemetry::stage::{Stage, counted};

/// Other datanodes. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    clients: Arc<Clients>,
    clock: SharedClock,
}

impl Peers {
    pub(crate) fn new(connect: Connect, clock: SharedClock) -> Self {
        Self { clients: Arc::new(Clients::new(connect)), clock }
    }

    /// The peers for the work that this call asks for.
    pub(super) fn asked_by(&self, call: &Call) -> Asked {
        Asked { peers: self.clone(), call: call.clone(), end: self.clock.boot() + call.timeout }
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
        let timeout = self.end.saturating_sub(self.peers.clock.boot());
        let call = Call { timeout, ..self.call.clone() };
        let client = self.peers.clients.client(peer.node, &peer.address)?;
        let reply = client.scan(&call, ScanTicket::Exchange(ticket)).await?;
        Ok(counted(reply.stream, Stage::Shuffle).boxed())
    }
}
