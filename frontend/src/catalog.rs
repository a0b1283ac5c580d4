//! DataFusion's view of the catalog, and the tables that describe it.

mod information_schema;
mod mysql;
mod pg_catalog;
mod provider;
mod system;
mod table;
#[cfg(test)]
mod tests;
pub(crate) mod types;
pub(crate) mod variable;

pub(crate) use information_schema::{PRIVILEGES, key_parts, mysql_key};
pub(crate) use mysql::adapt as adapt_mysql;
pub(crate) use pg_catalog::adapt;
pub(crate) use provider::Catalogs;
pub(crate) use system::{Viewer, system_columns, system_tables};
pub(crate) use table::RegionTable;
