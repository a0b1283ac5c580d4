//! pg_catalog: as much of PostgreSQL's own tables as its clients need to list and describe.
//!
//! Own tables and not crate datafusion-pg-catalog: that crate numbers objects
//! by a counter of the process, so that two frontends disagree, and turns on
//! every feature of DataFusion. Here an OID derives from varve's own ids.
//! Each database of varve is a schema of the one PostgreSQL database.

mod activity;
mod adapt;
mod describe;
mod empty;
mod function;
mod oid;
mod relation;

use super::system::{Live, LiveMaker, Maker};

pub(crate) use adapt::adapt;

/// Tables over what others must be asked for.
pub(super) const LIVE_TABLES: &[LiveMaker] = &[("pg_stat_activity", Live::Processes(activity::list))];

/// Whether there is a table of this name.
fn is_table(name: &str) -> bool {
    TABLES.iter().any(|(known, _)| *known == name) || LIVE_TABLES.iter().any(|(known, _)| *known == name)
}

/// All tables here; those that are always empty are named in `empty`.
pub(super) const TABLES: &[Maker] = &[
    ("pg_am", describe::access_methods),
    ("pg_attrdef", relation::defaults),
    ("pg_attribute", relation::attributes),
    ("pg_class", relation::classes),
    ("pg_database", describe::databases),
    ("pg_description", relation::descriptions),
    ("pg_namespace", relation::namespaces),
    ("pg_range", empty::ranges),
    ("pg_roles", describe::roles),
    ("pg_settings", describe::settings),
    ("pg_tables", describe::tables),
    ("pg_type", describe::types),
    ("pg_user", describe::users),
    ("pg_collation", empty::collations),
    ("pg_constraint", empty::constraints),
    ("pg_depend", empty::depends),
    ("pg_enum", empty::enums),
    ("pg_extension", empty::extensions),
    ("pg_index", empty::indexes),
    ("pg_indexes", empty::index_texts),
    ("pg_inherits", empty::inherits),
    ("pg_matviews", empty::views),
    ("pg_proc", empty::procedures),
    ("pg_tablespace", empty::tablespaces),
    ("pg_trigger", empty::triggers),
    ("pg_views", empty::views),
];
