//! The fallback of the region leaf: a leaf that stayed on the frontend reads its regions by RPC.

use std::sync::Arc;

use async_trait::async_trait;
use varve_model::Result;
use varve_model::scan::ScanSpec;
use varve_proto::datanode::ScanTicket;
use varve_query::operator::{BatchStream, RegionReader};
use varve_service::telemetry::stage::{Stage, counted};

use futures::StreamExt;

use super::distribute::Fleet;

/// Reads regions through `DatanodeApi::scan`.
#[derive(Debug)]
pub(crate) struct RemoteReader {
    fleet: Arc<Fleet>,
}

impl RemoteReader {
    pub(crate) fn new(fleet: Arc<Fleet>) -> Self {
        Self { fleet }
    }
}

#[async_trait]
impl RegionReader for RemoteReader {
    async fn read(&self, spec: ScanSpec) -> Result<BatchStream> {
        let node = self.fleet.owner(spec.region)?;
        let client = self.fleet.client(node)?;
        let reply = client.scan(&self.fleet.deadline().call(), ScanTicket::Region(spec)).await?;
        Ok(counted(reply.stream, Stage::Exchange).boxed())
    }
}
