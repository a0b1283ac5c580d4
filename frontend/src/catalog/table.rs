//! A table with rows, as DataFusion plans it: a leaf over its regions.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use varve_model::time::TimeRange;
use varve_query::error::into_datafusion;
use varve_query::operator::{RegionScanExec, ScanRegion, ScanSource};
use varve_query::predicate::{self, Predicate};

use crate::cluster::Table;

/// The rows of one table.
#[derive(Debug)]
pub(crate) struct RegionTable {
    table: Arc<Table>,
    schema: SchemaRef,
}

impl RegionTable {
    pub(crate) fn new(table: Arc<Table>) -> Self {
        let all = (0..table.scan.columns.len()).collect::<Vec<_>>();
        Self { schema: table.scan.schema(&all), table }
    }

    /// What the view says of it.
    pub(crate) fn table(&self) -> &Arc<Table> {
        &self.table
    }
}

#[async_trait]
impl TableProvider for RegionTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let exact = |filter: &&Expr| match predicate::convert(filter, &self.table.scan) {
            Some(_) => TableProviderFilterPushDown::Exact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(exact).collect())
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        // Only filters that were answered with Exact arrive here.
        let predicate = filters
            .iter()
            .filter_map(|filter| predicate::convert(filter, &self.table.scan))
            .fold(Predicate::default(), Predicate::and);
        let regions = self
            .table
            .info
            .regions()
            .map(|region| self.table.route(region).map(|route| ScanRegion { region, epoch: route.epoch }))
            .collect::<varve_model::Result<Vec<_>>>()
            .map_err(into_datafusion)?;
        let projection = projection.cloned().unwrap_or_else(|| (0..self.table.scan.columns.len()).collect());
        let source = ScanSource {
            table: Arc::clone(&self.table.scan),
            regions,
            time: TimeRange::ALL,
            matchers: Vec::new(),
            projection,
            fetch: limit,
            padding: 0,
        };
        Ok(Arc::new(RegionScanExec::new(source.with_predicate(predicate))))
    }
}
