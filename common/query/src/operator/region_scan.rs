//! The leaf: rows of some regions of one table, merged and filtered by time and tags.
//!
//! One partition per region. The leaf names columns by id and carries the
//! regions' epochs, so that it means the same wherever it is executed and a
//! moved region is noticed. It takes no filter from above at execution: what may
//! go below the merge was decided at planning, by `predicate`.

use std::fmt;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::{Partitioning, PlanProperties};
use futures::{Stream, StreamExt, TryStreamExt, future, stream};
use serde::{Deserialize, Serialize};
use varve_model::id::{RegionEpoch, RegionId};
use varve_model::matcher::Matcher;
use varve_model::scan::ScanSpec;
use varve_model::schema::ColumnRole;
use varve_model::time::TimeRange;

use super::cast::to_logical;
use super::leaf::{Batches, Leaf, Rows};
use super::reader::Reader;
use crate::column::ScanTable;
use crate::error::into_datafusion;
use crate::predicate::Predicate;

/// More regions than any table has on one node.
const PADDING_MAX: usize = 1 << 16;

/// One region to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ScanRegion {
    /// The region.
    pub region: RegionId,
    /// The epoch the planner believes in.
    pub epoch: RegionEpoch,
}

/// What a leaf reads; all that goes over the wire of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanSource {
    /// The table.
    pub table: Arc<ScanTable>,
    /// The regions, one partition each.
    pub regions: Vec<ScanRegion>,
    /// Bounds of the time index.
    pub time: TimeRange,
    /// Conditions on tags.
    pub matchers: Vec<Matcher>,
    /// Indexes into the table's columns: what comes out, in this order.
    pub projection: Vec<usize>,
    /// Rows after which a partition ends.
    pub fetch: Option<usize>,
    /// Partitions without rows after those of the regions: all tasks of a stage have equally many.
    #[serde(default)]
    pub padding: usize,
}

impl ScanSource {
    /// Whether every index is inside the table and the padding bounded; bytes from a wire are not trusted.
    pub fn is_valid(&self) -> bool {
        self.padding <= PADDING_MAX && self.projection.iter().all(|&at| at < self.table.columns.len())
    }

    /// Reads under these conditions.
    pub fn with_predicate(mut self, predicate: Predicate) -> Self {
        self.time = predicate.time;
        self.matchers = predicate.matchers;
        self
    }

    fn spec(&self, partition: usize) -> ScanSpec {
        let ScanRegion { region, epoch } = self.regions[partition];
        let mut columns = self.projection.iter().map(|&at| self.table.columns[at].id).collect::<Vec<_>>();
        if columns.is_empty() {
            // Somebody only counts rows: the time index is the cheapest column that every row has.
            let time = self.table.columns.iter().find(|column| column.role == ColumnRole::TimeIndex);
            columns.extend(time.map(|column| column.id));
        }
        ScanSpec { region, epoch, time: self.time, matchers: self.matchers.clone(), columns }
    }
}

/// The leaf.
pub type RegionScanExec = Leaf<ScanSource>;

impl RegionScanExec {
    /// A leaf over these regions. Precondition: the source is valid.
    pub fn new(source: ScanSource) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(source.table.schema(&source.projection)),
            Partitioning::UnknownPartitioning(source.regions.len() + source.padding),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self::over(source, Arc::new(properties))
    }

    /// What it reads.
    pub fn source(&self) -> &ScanSource {
        self.rows()
    }

    /// The same leaf over some of its regions.
    pub fn with_regions(&self, regions: Vec<ScanRegion>) -> Self {
        Self::new(ScanSource { regions, ..self.source().clone() })
    }

    /// The same leaf over some of its regions, in so many partitions. Precondition: at least one per region.
    pub fn padded(&self, regions: Vec<ScanRegion>, partitions: usize) -> Self {
        let padding = partitions - regions.len();
        Self::new(ScanSource { regions, padding, ..self.source().clone() })
    }
}

impl Rows for ScanSource {
    const NAME: &'static str = "RegionScanExec";

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, regions, time, matchers, projection, fetch, .. } = self;
        let names = projection.iter().map(|&at| table.columns[at].name.as_str()).collect::<Vec<_>>().join(", ");
        write!(f, "table={}, regions={}, columns=[{names}]", table.name, regions.len())?;
        if *time != TimeRange::ALL {
            write!(f, ", time=[{}, {}]", time.start, time.end)?;
        }
        for matcher in matchers {
            write!(f, ", {} {:?}", matcher.tag, matcher.op)?;
        }
        fetch.map_or(Ok(()), |fetch| write!(f, ", fetch={fetch}"))
    }

    fn fetch(&self) -> Option<usize> {
        self.fetch
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<RegionScanExec> {
        Some(RegionScanExec::new(Self { fetch: limit, ..self.clone() }))
    }

    fn read(&self, partition: usize, schema: &SchemaRef, context: &Arc<TaskContext>) -> Result<Batches> {
        let is_padding = partition >= self.regions.len();
        if is_padding || self.time.is_empty() || self.fetch == Some(0) {
            return Ok(stream::empty().boxed());
        }
        let (reader, spec, schema) = (Reader::of(context)?, self.spec(partition), Arc::clone(schema));
        let read = async move {
            let batches = reader.0.read(spec).await.map_err(into_datafusion)?;
            Ok::<_, DataFusionError>(batches.map(move |batch| to_logical(&batch.map_err(into_datafusion)?, &schema)))
        };
        Ok(first_rows(stream::once(read).try_flatten(), self.fetch).boxed())
    }
}

/// Ends a stream after so many rows; the reader is dropped with it.
fn first_rows(
    batches: impl Stream<Item = Result<RecordBatch>>,
    fetch: Option<usize>,
) -> impl Stream<Item = Result<RecordBatch>> {
    batches.scan(fetch.unwrap_or(usize::MAX), |left, batch| {
        if *left == 0 {
            return future::ready(None);
        }
        let batch = batch.map(|batch| {
            let batch = if batch.num_rows() > *left { batch.slice(0, *left) } else { batch };
            *left -= batch.num_rows();
            batch
        });
        future::ready(Some(batch))
    })
}
