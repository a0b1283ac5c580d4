//! Subtrees whose stages exchange rows between datanodes, instead of meeting here.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt;
use varve_model::Result;
use varve_proto::datanode::ScanTicket;
use varve_query::context::Sessions;
use varve_query::exchange::{Exchange, Peer, Setting, shuffle};
use varve_query::operator::BatchStream;
use varve_service::telemetry::stage::{Stage, counted};

use super::distribute::Fleet;

/// The plan whose subtrees over several datanodes exchange their rows there.
///
/// What stays is for [`distribute`](super::distribute()). Errors: `StaleRoute`; `Internal`.
pub(crate) fn shuffled(
    plan: Arc<dyn ExecutionPlan>,
    fleet: &Arc<Fleet>,
    sessions: &Sessions,
) -> Result<Arc<dyn ExecutionPlan>> {
    let setting = Setting {
        exchange: Arc::clone(fleet) as Arc<dyn Exchange>,
        sessions: sessions.clone(),
        time_zone: fleet.time_zone().to_owned(),
    };
    shuffle(plan, &|region| fleet.peer(region), &Arc::new(setting))
}

#[async_trait]
impl Exchange for Fleet {
    async fn open(&self, peer: &Peer, ticket: Bytes) -> Result<BatchStream> {
        let client = self.client(peer.node)?;
        let reply = client.scan(&self.deadline().call(), ScanTicket::Exchange(ticket)).await?;
        Ok(counted(reply.stream, Stage::Exchange).boxed())
    }
}
