//! The one way to build a DataFusion session: same functions, settings and memory on both sides.

use std::fmt;
use std::sync::Arc;

use datafusion::catalog::CatalogProviderList;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SessionState, SessionStateBuilder, TaskContext};
use datafusion::prelude::SessionConfig;
use varve_model::Result;
use varve_model::budget::Account;

use crate::error::from_datafusion;
use crate::operator::{Reader, RegionReader};

mod pool;
#[cfg(test)]
mod tests;

/// The SQL catalog that all databases are in.
pub const CATALOG: &str = "varve";
/// The name under which GreptimeDB's users know it.
pub const CATALOG_ALIAS: &str = "greptime";

/// Rows of a batch between operators: DataFusion's own default.
const BATCH_ROWS: usize = 8192;

/// Sessions of one node. Cheap to clone: functions and settings are shared.
#[derive(Clone)]
pub struct Sessions(Arc<SessionState>);

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl Sessions {
    /// Sessions whose plans run in `partitions` parallel parts and charge `memory`.
    /// Errors: `Internal` when DataFusion refuses its settings.
    pub fn new(memory: &Account, partitions: usize) -> Result<Self> {
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool::AccountPool::new(memory)))
            // No role of ours owns a scratch disk yet: over the limit a query fails, it never fills a disk.
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .build_arc()
            .map_err(from_datafusion)?;
        Ok(Self(Arc::new(base(runtime, partitions))))
    }

    /// A session that plans over these catalogs.
    pub fn planning(&self, catalogs: Arc<dyn CatalogProviderList>, database: &str, time_zone: &str) -> SessionState {
        let mut state = (*self.0).clone();
        state.register_catalog_list(catalogs);
        let options = state.config_mut().options_mut();
        database.clone_into(&mut options.catalog.default_schema);
        options.execution.time_zone = Some(time_zone.to_owned());
        state.mark_start_execution();
        state
    }

    /// What a plan made by `state` is executed in; `reader` serves its leaves.
    pub fn task_of(&self, state: &SessionState, reader: Arc<dyn RegionReader>) -> Arc<TaskContext> {
        task(state, state.config().clone(), reader)
    }

    /// What a fragment made in this time zone is executed in.
    pub fn task(&self, time_zone: &str, reader: Arc<dyn RegionReader>) -> Arc<TaskContext> {
        let mut config = self.0.config().clone();
        config.options_mut().execution.time_zone = Some(time_zone.to_owned());
        task(&self.0, config, reader)
    }

    /// The state that all sessions start from.
    pub fn base(&self) -> &SessionState {
        &self.0
    }
}

fn task(state: &SessionState, config: SessionConfig, reader: Arc<dyn RegionReader>) -> Arc<TaskContext> {
    Arc::new(TaskContext::from(state).with_session_config(config.with_extension(Arc::new(Reader(reader)))))
}

fn base(runtime: Arc<RuntimeEnv>, partitions: usize) -> SessionState {
    let mut config = SessionConfig::new()
        .with_batch_size(BATCH_ROWS)
        .with_target_partitions(partitions.max(1))
        .with_default_catalog_and_schema(CATALOG, varve_model::name::DEFAULT_DATABASE)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(false);
    let options = config.options_mut();
    // Conditions found while running must not reach the leaf: below the merge they
    // could drop the newer row of a key.
    options.optimizer.enable_dynamic_filter_pushdown = false;
    // Without a scratch disk nothing spills, and memory for spilling is wasted.
    options.execution.sort_spill_reservation_bytes = 0;
    SessionStateBuilder::new().with_config(config).with_runtime_env(runtime).with_default_features().build()
}
