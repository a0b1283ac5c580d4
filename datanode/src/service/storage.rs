//! Where a datanode keeps its bytes.

use std::sync::Arc;
use std::time::Duration;

use varve_engine::store::ObjectStore;
use varve_engine::store::credential::Credentials;
use varve_engine::store::folder::{abort, open_folder};
use varve_engine::store::probe::{Capabilities, probe};
use varve_engine::store::s3::open_s3;
use varve_engine::wal::local::Disk;
use varve_engine::{EngineOptions, Log};
use varve_model::{Error, ErrorKind, Reason, Result};
use varve_service::clock::SharedClock;
use varve_service::task::TaskSet;

use crate::config::{DatanodeConfig, LogPlace};

/// First and longest pause before a bucket that does not answer is asked again.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Changes the engine's options: tests and the simulation want tiny ones.
type Tune = Arc<dyn Fn(&mut EngineOptions) + Send + Sync>;

/// What a bucket can do. One that is away may come, and so may permissions: credentials are exchanged and rights
/// granted while a node waits. One that must not be used is refused at once.
/// Errors: `InvalidRequest` with the reason; the bucket's last error when the process stops.
async fn capabilities(bucket: &dyn ObjectStore, clock: &SharedClock, tasks: &TaskSet) -> Result<Capabilities> {
    let mut pause = PAUSE_MIN;
    loop {
        let error = match probe(bucket, clock).await {
            Err(error) => error,
            Ok(able) => return Ok(able),
        };
        match error.kind() {
            ErrorKind::PermissionDenied => {
                let hint = error.hint().unwrap_or_default();
                tracing::error!(%error, hint, "the bucket refuses this datanode's credentials, asking again");
            }
            ErrorKind::Unavailable | ErrorKind::Timeout => {
                tracing::warn!(%error, "the bucket does not answer, asking again");
            }
            _ => return Err(error),
        }
        tokio::select! {
            () = clock.sleep(pause) => pause = (2 * pause).min(PAUSE_MAX),
            () = tasks.token().cancelled() => return Err(error),
        }
    }
}

/// Bucket and log.
#[derive(Clone)]
pub struct Storage {
    pub(crate) bucket: Arc<dyn ObjectStore>,
    pub(crate) log: Log,
    tune: Option<Tune>,
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage").field("bucket", &self.bucket).field("log", &self.log).finish_non_exhaustive()
    }
}

impl Storage {
    /// `bucket/` and `wal/` below the data directory, every create synced. Errors: `Unavailable`.
    pub fn local(config: &DatanodeConfig, tasks: &TaskSet) -> Result<Self> {
        let bucket = open_folder(config.data_dir.join("bucket"), tasks.clone(), abort)?;
        Ok(Self { bucket, log: Disk::Os(config.data_dir.join("wal")).into(), tune: None })
    }

    /// The bucket of a cluster, probed, with the log where the settings say.
    /// Errors: `InvalidRequest` for settings or a store that must not be used; `Unavailable`.
    pub async fn open(config: &DatanodeConfig, clock: &SharedClock, tasks: &TaskSet) -> Result<Self> {
        let Some(s3) = &config.s3 else {
            return Err(Error::invalid("datanode.s3 is missing")
                .with_reason(Reason::BadValue)
                .with_hint("a cluster keeps its data in a bucket; `varve standalone` needs none"));
        };
        let credentials = Credentials::find(&s3.region, clock, tasks);
        let mut bucket = open_s3(s3, credentials.as_ref(), true)?;
        if !capabilities(&*bucket, clock, tasks).await?.bulk_delete {
            bucket = open_s3(s3, credentials.as_ref(), false)?;
        }
        let log = match config.log {
            LogPlace::Bucket => Log::Object,
            LogPlace::Local => Disk::Os(config.data_dir.join("wal")).into(),
        };
        Ok(Self { bucket, log, tune: None })
    }

    /// A bucket and a log made elsewhere, with changed options.
    pub fn custom(
        bucket: Arc<dyn ObjectStore>,
        log: impl Into<Log>,
        tune: impl Fn(&mut EngineOptions) + Send + Sync + 'static,
    ) -> Self {
        Self { bucket, log: log.into(), tune: Some(Arc::new(tune)) }
    }

    pub(crate) fn tuned(&self, mut options: EngineOptions) -> EngineOptions {
        if let Some(tune) = &self.tune {
            tune(&mut options);
        }
        options
    }
}
