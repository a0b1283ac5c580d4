//! `database/<id:08x>`: a database; `database_name/<name>`: its id by name.
//!
//! `{"info": DatabaseInfo, "dropping": false}` and `{"id": <u32>}`. The name is
//! UTF-8 as the user gave it. While a database is dropped its name is gone
//! already and `dropping` is true until its tables are gone too.

use serde::{Deserialize, Serialize};
use varve_model::id::DatabaseId;
use varve_model::table::DatabaseInfo;

use super::{Key, hex};

/// A database by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DatabaseKey(pub DatabaseId);

/// Value of [`DatabaseKey`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseRecord {
    /// What frontends see.
    pub info: DatabaseInfo,
    /// Whether it is being dropped.
    #[serde(default)]
    pub dropping: bool,
}

impl Key for DatabaseKey {
    const KIND: &'static str = "database";
    type Record = DatabaseRecord;

    fn path(&self) -> String {
        format!("{:08x}", self.0.0)
    }

    fn parse(path: &str) -> Option<Self> {
        Some(Self(DatabaseId(hex(path, 8)? as u32)))
    }
}

/// A database's id by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DatabaseNameKey(pub String);

/// Value of [`DatabaseNameKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseNameRecord {
    /// The database of this name.
    pub id: DatabaseId,
}

impl Key for DatabaseNameKey {
    const KIND: &'static str = "database_name";
    type Record = DatabaseNameRecord;

    fn path(&self) -> String {
        self.0.clone()
    }

    fn parse(path: &str) -> Option<Self> {
        Some(Self(path.to_owned()))
    }
}
