//! DataFusion's view of the catalog, and the tables that describe it.

mod provider;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use provider::Catalogs;

/// Names of the tables in a database that only describes; `None` for all others.
pub(crate) fn system_tables(_: &str) -> Option<Vec<String>> {
    None
}
