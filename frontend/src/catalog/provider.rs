//! The catalog as DataFusion asks for it: one catalog, a schema per database.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::common::Result;
use varve_model::name::SYSTEM_DATABASES;
use varve_protocol::session::Session;
use varve_query::context::{CATALOG, CATALOG_ALIAS};

use super::system::{SystemSchema, Viewer};
use super::table::RegionTable;
use crate::cluster::{Database, View};
use crate::process::Peers;

/// All databases of one view.
#[derive(Clone, Debug)]
pub(crate) struct Catalogs {
    view: Arc<View>,
    peers: Arc<Peers>,
    viewer: Arc<Viewer>,
}

impl Catalogs {
    pub(crate) fn new(view: Arc<View>, peers: Arc<Peers>, session: &Session) -> Self {
        Self { view, peers, viewer: Arc::new(Viewer::of(session)) }
    }
}

impl CatalogProviderList for Catalogs {
    fn register_catalog(&self, _: String, _: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        [CATALOG, CATALOG_ALIAS].contains(&name).then(|| Arc::new(self.clone()) as Arc<dyn CatalogProvider>)
    }
}

impl CatalogProvider for Catalogs {
    fn schema_names(&self) -> Vec<String> {
        let system = SYSTEM_DATABASES.iter().map(|&name| name.to_owned());
        self.view.databases.keys().cloned().chain(system).collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if let Some(system) = SystemSchema::find(name, &self.peers, &self.view, &self.viewer) {
            return Some(Arc::new(system));
        }
        let database = self.view.databases.get(name)?;
        Some(Arc::new(DatabaseSchema { database: Arc::clone(database) }))
    }
}

/// The tables of one database.
#[derive(Debug)]
struct DatabaseSchema {
    database: Arc<Database>,
}

#[async_trait]
impl SchemaProvider for DatabaseSchema {
    fn table_names(&self) -> Vec<String> {
        self.database.tables.keys().cloned().collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let table = self.database.tables.get(name);
        Ok(table.map(|table| Arc::new(RegionTable::new(Arc::clone(table))) as Arc<dyn TableProvider>))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.database.tables.contains_key(name)
    }
}
