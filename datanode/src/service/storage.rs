//! Where a datanode keeps its bytes.

use std::sync::Arc;

use varve_engine::EngineOptions;
use varve_engine::store::ObjectStore;
use varve_engine::store::folder::{abort, open_folder};
use varve_engine::wal::local::Disk;
use varve_model::Result;
use varve_service::task::TaskSet;

use crate::config::DatanodeConfig;

/// Changes the engine's options: tests and the simulation want tiny ones.
type Tune = Arc<dyn Fn(&mut EngineOptions) + Send + Sync>;

/// Bucket and log.
#[derive(Clone)]
pub struct Storage {
    pub(crate) bucket: Arc<dyn ObjectStore>,
    pub(crate) disk: Disk,
    tune: Option<Tune>,
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage").field("bucket", &self.bucket).field("disk", &self.disk).finish_non_exhaustive()
    }
}

impl Storage {
    /// `bucket/` and `wal/` below the data directory, every create synced. Errors: `Unavailable`.
    pub fn local(config: &DatanodeConfig, tasks: &TaskSet) -> Result<Self> {
        let bucket = open_folder(config.data_dir.join("bucket"), tasks.clone(), abort)?;
        Ok(Self { bucket, disk: Disk::Os(config.data_dir.join("wal")), tune: None })
    }

    /// A bucket and a disk made elsewhere, with changed options.
    pub fn custom(
        bucket: Arc<dyn ObjectStore>,
        disk: Disk,
        tune: impl Fn(&mut EngineOptions) + Send + Sync + 'static,
    ) -> Self {
        Self { bucket, disk, tune: Some(Arc::new(tune)) }
    }

    pub(crate) fn tuned(&self, mut options: EngineOptions) -> EngineOptions {
        if let Some(tune) = &self.tune {
            tune(&mut options);
        }
        options
    }
}
