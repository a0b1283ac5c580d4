//! The regions that are open here, their permits, and the orders that change them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use varve_engine::{Engine, Region};
use varve_model::id::{NodeEpoch, RegionId};
use varve_model::region::Permit;
use varve_model::scan::RegionStatistics;
use varve_model::{Error, ErrorKind, Result};
use varve_proto::metasrv::{Grant, Life, OrderKind};

/// Hosts the regions of one session.
#[derive(Debug)]
pub(crate) struct Host {
    engine: Engine,
    life: watch::Sender<Life>,
    /// Until when the session's lease holds, on the boot clock; what opens later gets the same.
    valid_until: Mutex<Duration>,
    /// Regions that could not be opened for damage: they fail loudly, the others serve.
    corrupt: Mutex<BTreeMap<RegionId, String>>,
}

impl Host {
    pub(crate) fn new(engine: Engine) -> Self {
        Self {
            engine,
            life: watch::Sender::new(Life::Serving),
            valid_until: Mutex::new(Duration::ZERO),
            corrupt: Mutex::new(BTreeMap::new()),
        }
    }

    /// How far the process has come, and its changes.
    pub(crate) fn life(&self) -> watch::Receiver<Life> {
        self.life.subscribe()
    }

    /// An open region. Errors: `Corrupt`; `StaleRoute` when it is not here.
    pub(crate) fn region(&self, region: RegionId) -> Result<Arc<Region>> {
        if let Some(open) = self.engine.region(region) {
            return Ok(open);
        }
        match self.corrupt.lock().get(&region) {
            Some(why) => Err(Error::corrupt(format!("region {region} is damaged: {why}"))),
            None => Err(Error::new(ErrorKind::StaleRoute, format!("region {region} is not open here"))),
        }
    }

    /// Makes sure that nobody has ended the session. Errors: `Fenced`, `Unavailable`.
    pub(crate) async fn check_session(&self) -> Result<()> {
        self.engine.check_session().await
    }

    /// The lease holds until `until`: every open region may acknowledge that long.
    pub(crate) fn renew(&self, until: Duration) {
        let mut valid_until = self.valid_until.lock();
        *valid_until = until.max(*valid_until);
        for region in self.engine.regions() {
            region.permit(Permit { epoch: region.epoch(), valid_until: *valid_until });
        }
    }

    /// Carries out an order. Errors: those of the engine; metasrv repeats what may succeed later.
    pub(crate) async fn carry_out(&self, order: OrderKind) -> Result<()> {
        match order {
            OrderKind::Open(grant) => self.open(grant).await,
            OrderKind::Alter(grant) => self.region(grant.region)?.alter(grant.table, grant.ttl).await,
            OrderKind::Drop(region) => {
                self.corrupt.lock().remove(&region);
                self.engine.drop_region(region).await
            }
            OrderKind::Truncate(region) => self.region(region)?.truncate().await,
            OrderKind::Flush(region) => self.region(region)?.flush().await,
            OrderKind::Compact(region) => self.region(region)?.compact_all().await,
            OrderKind::Seal(session) => self.engine.seal_session(session).await,
            OrderKind::Forget(session) => self.forget(session).await,
        }
    }

    async fn open(&self, grant: Grant) -> Result<()> {
        match self.engine.open(grant.region, grant.epoch, grant.table, grant.ttl).await {
            Ok(region) => {
                self.corrupt.lock().remove(&grant.region);
                let valid_until = *self.valid_until.lock();
                region.permit(Permit { epoch: region.epoch(), valid_until });
                Ok(())
            }
            Err(error) => {
                if error.kind() == ErrorKind::Corrupt {
                    tracing::error!(region = %grant.region, %error, "the region is damaged and not served");
                    self.corrupt.lock().insert(grant.region, error.to_string());
                }
                Err(error)
            }
        }
    }

    /// Deletes what nobody needs of a dead session's log. Errors: `Busy` while somebody needs the rest.
    async fn forget(&self, session: NodeEpoch) -> Result<()> {
        let deleted = self.engine.delete_dead_session(session).await?;
        if deleted.left == 0 {
            return Ok(());
        }
        Err(Error::busy(format!("{} objects of session {session} hold rows that are not flushed", deleted.left)))
    }

    /// Statistics of the open regions.
    pub(crate) fn statistics(&self) -> Vec<(RegionId, RegionStatistics)> {
        self.engine.regions().iter().map(|region| (region.id(), region.statistics())).collect()
    }

    /// Closes all regions and the log: nothing of this session is acknowledged any more. Errors: `Unavailable`.
    pub(crate) async fn stop(&self) -> Result<()> {
        self.life.send_replace(Life::Draining);
        self.engine.stop().await?;
        self.life.send_replace(Life::Sealed);
        Ok(())
    }
}
