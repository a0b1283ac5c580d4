//! Reading a region: pick, match, merge, project, stream.
//!
//! Only conditions on tags and time act here, below the merge. Series are
//! chosen by the index, found by the files' series tables, and leave as batches
//! in (time component, series key, ts) order within each stream.

mod pick;
mod project;
mod stream;
#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::Stream;
use varve_model::Result;
use varve_model::scan::ScanSpec;

use crate::store::FileContext;
use crate::version::View;

/// Batches of one stream. Dropping it stops the work.
pub type BatchStream = Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>>;

/// The answer to a scan: streams of disjoint series that may be read side by side.
pub struct RegionScan {
    /// Columns in the order asked for.
    pub schema: SchemaRef,
    /// At least one.
    pub streams: Vec<BatchStream>,
}

impl std::fmt::Debug for RegionScan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegionScan").field("schema", &self.schema).field("streams", &self.streams.len()).finish()
    }
}

/// How a scan is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanOptions {
    /// Streams at most.
    pub streams_max: usize,
    /// Rows below which one more stream does not pay.
    pub stream_rows_min: u64,
    /// Rows merged at once, before merging: bounds the memory of a stream.
    pub group_rows: u64,
    /// Rows of a batch at most.
    pub batch_rows: usize,
}

impl Default for ScanOptions {
    fn default() -> Self {
        Self { streams_max: 4, stream_rows_min: 128 << 10, group_rows: 128 << 10, batch_rows: 8192 }
    }
}

/// Rows of a region as of this view. Files are opened here; rows are read as streams are polled.
/// Errors: `InvalidRequest` for a bad regex or an unknown column, `Corrupt`, `Unavailable`, `Busy`.
pub async fn scan(view: Arc<View>, spec: &ScanSpec, ctx: &FileContext) -> Result<RegionScan> {
    scan_with(view, spec, ctx, ScanOptions::default()).await
}

/// As [`scan`], cut otherwise.
pub async fn scan_with(
    view: Arc<View>,
    spec: &ScanSpec,
    ctx: &FileContext,
    options: ScanOptions,
) -> Result<RegionScan> {
    let output = Arc::new(project::Output::new(&view, &spec.columns)?);
    let picked = pick::pick(&view, spec, ctx).await?;
    let parts = picked.partition(&view, &options);
    let schema = output.schema.clone();
    let streams = parts.into_iter().map(|part| stream::stream(&view, ctx, &output, part, options)).collect::<Vec<_>>();
    Ok(RegionScan { schema, streams })
}
