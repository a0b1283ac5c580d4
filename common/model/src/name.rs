//! Which names users may give.
//!
//! Names are case-sensitive on every wire. The prefix `__` is kept for our own
//! columns (`__sid`, `__seq`), so that a file never has two columns of one name.

use crate::error::{Error, Reason, Result};
use crate::limits::{COLUMN_NAME_BYTES_MAX, TABLE_NAME_BYTES_MAX};

/// Prefix of columns that only varve may create.
pub const RESERVED_PREFIX: &str = "__";
/// Time column of tables that a protocol creates.
pub const TIME_COLUMN: &str = "time";
/// Database that exists from the start.
pub const DEFAULT_DATABASE: &str = "public";
/// Databases that show metadata and hold no tables of users.
pub const SYSTEM_DATABASES: [&str; 2] = ["information_schema", "pg_catalog"];

/// Checks a database name. Errors: `InvalidRequest`.
pub fn check_database(name: &str) -> Result<()> {
    check("database", name, TABLE_NAME_BYTES_MAX)?;
    if SYSTEM_DATABASES.contains(&name) {
        return Err(Error::invalid(format!("database name '{name}' is reserved")).with_reason(Reason::Database));
    }
    Ok(())
}

/// Checks a table name. Errors: `InvalidRequest`.
pub fn check_table(name: &str) -> Result<()> {
    check("table", name, TABLE_NAME_BYTES_MAX)
}

/// Checks a column name. Errors: `InvalidRequest`.
pub fn check_column(name: &str) -> Result<()> {
    check("column", name, COLUMN_NAME_BYTES_MAX)?;
    if name.starts_with(RESERVED_PREFIX) {
        return Err(Error::invalid(format!("column name '{name}' is reserved: it begins with '{RESERVED_PREFIX}'"))
            .with_reason(Reason::Column));
    }
    Ok(())
}

fn check(what: &str, name: &str, bytes_max: usize) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid(format!("{what} name is empty")).with_reason(Reason::BadValue));
    }
    if name.len() > bytes_max {
        return Err(
            Error::invalid(format!("{what} name is longer than {bytes_max} bytes")).with_reason(Reason::BadValue)
        );
    }
    if name.contains('\0') {
        return Err(Error::invalid(format!("{what} name contains a NUL")).with_reason(Reason::BadValue));
    }
    Ok(())
}
