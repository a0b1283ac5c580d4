//! One consistent state of catalog and routes: immutable, so that a statement sees one truth from start to end.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use varve_model::id::{DatabaseId, NodeId, RegionId, TableId};
use varve_model::partition::Partition;
use varve_model::region::Route;
use varve_model::schema::Column;
use varve_model::table::{DatabaseInfo, TableInfo, Ttl};
use varve_model::{Error, Reason, Result};
use varve_proto::metasrv::{Change, News};
use varve_query::column::ScanTable;

#[cfg(test)]
mod tests;

/// Everything metasrv has told, up to a revision.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// The last change that is in it.
    pub(crate) revision: u64,
    /// By name.
    pub(crate) databases: BTreeMap<String, Arc<Database>>,
    /// Addresses of datanodes.
    pub(crate) nodes: BTreeMap<NodeId, String>,
    /// The tables of all databases: regions name their table by its id.
    by_id: Arc<BTreeMap<TableId, Arc<Table>>>,
}

/// A database with its tables.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) info: Arc<DatabaseInfo>,
    /// By name.
    pub(crate) tables: BTreeMap<String, Arc<Table>>,
}

/// A table with all that planning and writing need per request, made once per change.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) info: Arc<TableInfo>,
    pub(crate) database: Arc<DatabaseInfo>,
    /// In partition order.
    pub(crate) routes: Arc<[Route]>,
    /// The columns as scans name them.
    pub(crate) scan: Arc<ScanTable>,
    /// Index into the schema's columns, by name.
    by_name: FxHashMap<String, usize>,
    /// Index into the routes.
    by_region: FxHashMap<RegionId, usize>,
}

impl Table {
    fn new(info: Arc<TableInfo>, database: Arc<DatabaseInfo>, routes: Arc<[Route]>) -> Self {
        let scan = Arc::new(ScanTable::new(&info.name, &info.schema));
        let by_name = info.schema.columns.iter().enumerate().map(|(at, column)| (column.name.clone(), at)).collect();
        let by_region = routes.iter().enumerate().map(|(at, route)| (route.region, at)).collect();
        Self { info, database, routes, scan, by_name, by_region }
    }

    /// The column of this name.
    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.by_name.get(name).map(|&at| &self.info.schema.columns[at])
    }

    /// The ttl in force: its own, else its database's.
    pub(crate) fn ttl(&self) -> Ttl {
        self.info.options.ttl.or(self.database.ttl).unwrap_or(Ttl::Forever)
    }

    /// Where a region is. Errors: `StaleRoute` when this view does not know it.
    pub(crate) fn route(&self, region: RegionId) -> Result<&Route> {
        self.by_region.get(&region).map(|&at| &self.routes[at]).ok_or_else(|| {
            Error::new(varve_model::ErrorKind::StaleRoute, format!("region {region} has no owner in this view"))
        })
    }

    /// How its rows are spread.
    pub(crate) fn partition(&self) -> &Partition {
        &self.info.partition
    }
}

impl View {
    /// The database of this name. Errors: `NotFound/Database`.
    pub(crate) fn database(&self, name: &str) -> Result<&Arc<Database>> {
        self.databases
            .get(name)
            .ok_or_else(|| Error::not_found(format!("database '{name}' not found")).with_reason(Reason::Database))
    }

    /// The table of this name. Errors: `NotFound` of the database or table.
    pub(crate) fn table(&self, database: &str, table: &str) -> Result<&Arc<Table>> {
        self.database(database)?
            .tables
            .get(table)
            .ok_or_else(|| Error::not_found(format!("table '{database}.{table}' not found")).with_reason(Reason::Table))
    }

    /// The table of this id.
    pub(crate) fn table_by_id(&self, id: TableId) -> Option<&Arc<Table>> {
        self.by_id.get(&id)
    }

    /// The view after this news.
    pub(crate) fn after(&self, news: &News) -> Self {
        let mut next = match &news.change {
            Change::Snapshot(_) => Self::default(),
            _ => self.clone(),
        };
        next.revision = news.revision;
        match &news.change {
            Change::Snapshot(catalog) => {
                catalog.databases.iter().for_each(|info| next.put_database(info));
                catalog.tables.iter().for_each(|(info, routes)| next.put_table(info, routes));
                next.nodes.extend(catalog.nodes.iter().cloned());
            }
            Change::Database(info) => next.put_database(info),
            Change::DatabaseDropped(id) => drop(next.remove_database(*id)),
            Change::Table(info, routes) => next.put_table(info, routes),
            Change::TableDropped(id) => next.remove_table(*id),
            Change::Node(id, address) => {
                next.nodes.insert(*id, address.clone());
            }
            // Words to this frontend, not news of the catalog.
            Change::Seated(_) | Change::Asked(_) => return self.clone(),
        }
        next
    }

    fn put_database(&mut self, info: &Arc<DatabaseInfo>) {
        let tables = self.remove_database(info.id);
        let database = Database { info: Arc::clone(info), tables: BTreeMap::new() };
        self.databases.insert(info.name.clone(), Arc::new(database));
        // Tables inherit the ttl live, so they are made anew.
        for table in tables {
            self.put_table(&table.info, &table.routes);
        }
    }

    fn put_table(&mut self, info: &Arc<TableInfo>, routes: &Arc<[Route]>) {
        self.remove_table(info.id);
        let Some(database) = self.database_by_id(info.database) else {
            // Changes come in order, so the database was dropped before: its tables are gone with it.
            return;
        };
        let table = Arc::new(Table::new(Arc::clone(info), Arc::clone(&database.info), Arc::clone(routes)));
        Arc::make_mut(database).tables.insert(info.name.clone(), Arc::clone(&table));
        Arc::make_mut(&mut self.by_id).insert(info.id, table);
    }

    /// Removes a database; its tables.
    fn remove_database(&mut self, id: DatabaseId) -> Vec<Arc<Table>> {
        let Some(name) = self.database_by_id(id).map(|database| database.info.name.clone()) else { return Vec::new() };
        let tables = self.databases.remove(&name).map(|database| database.tables.values().cloned().collect());
        let tables: Vec<Arc<Table>> = tables.unwrap_or_default();
        let by_id = Arc::make_mut(&mut self.by_id);
        for table in &tables {
            by_id.remove(&table.info.id);
        }
        tables
    }

    fn remove_table(&mut self, id: TableId) {
        let Some(table) = self.by_id.get(&id).cloned() else { return };
        Arc::make_mut(&mut self.by_id).remove(&id);
        if let Some(database) = self.databases.get_mut(&table.database.name)
            && database.tables.get(&table.info.name).is_some_and(|named| named.info.id == id)
        {
            Arc::make_mut(database).tables.remove(&table.info.name);
        }
    }

    fn database_by_id(&mut self, id: DatabaseId) -> Option<&mut Arc<Database>> {
        self.databases.values_mut().find(|database| database.info.id == id)
    }
}
