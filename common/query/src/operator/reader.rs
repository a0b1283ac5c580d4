//! How the leaf gets at rows: a reader that its host puts into the task context.
//!
//! Two real readers exist: the engine on a datanode, and `DatanodeApi::scan` on a
//! frontend for a leaf that stayed there.

use std::fmt::Debug;
use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use datafusion::common::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::TaskContext;
use futures::stream::BoxStream;
use varve_model::Result;
use varve_model::scan::ScanSpec;

/// Batches of one region.
pub type BatchStream = BoxStream<'static, Result<RecordBatch>>;

/// Reads regions.
#[async_trait]
pub trait RegionReader: Debug + Send + Sync {
    /// Opens a scan. Every batch has the columns of the spec in its order, in their stored
    /// types. Errors: `StaleRoute` when the region is not here or its epoch is another.
    async fn read(&self, spec: ScanSpec) -> Result<BatchStream>;
}

/// The reader of a task, as an extension of its session's settings.
#[derive(Debug)]
pub struct Reader(pub Arc<dyn RegionReader>);

impl Reader {
    /// The reader that this task's host has put there.
    pub(super) fn of(context: &TaskContext) -> DataFusionResult<Arc<Self>> {
        context
            .session_config()
            .get_extension::<Self>()
            .ok_or_else(|| DataFusionError::Internal("no region reader in the task context".into()))
    }
}
