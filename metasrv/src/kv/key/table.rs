//! `table/<id:08x>`: a table; `table_name/<database:08x>/<name>`: its id by name.
//!
//! `{"info": TableInfo, "next": TableInfo | absent, "dropping": false}` and
//! `{"id": <u32>}`. `next` is what a change under way makes of it: regions get
//! `next` first, and only when all have it does it become `info`, which is all
//! that frontends see. While a table is renamed both names lead to it; while it
//! is dropped none does.

use serde::{Deserialize, Serialize};
use varve_model::id::{DatabaseId, TableId};
use varve_model::table::TableInfo;

use super::{Key, hex};

/// A table by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableKey(pub TableId);

/// Value of [`TableKey`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableRecord {
    /// What frontends see.
    pub info: TableInfo,
    /// What it will be when the change under way has reached every region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<TableInfo>,
    /// Whether it is being dropped.
    #[serde(default)]
    pub dropping: bool,
}

impl TableRecord {
    /// What regions are opened with: they may already hold rows under `next`.
    pub fn newest(&self) -> &TableInfo {
        self.next.as_ref().unwrap_or(&self.info)
    }
}

impl Key for TableKey {
    const KIND: &'static str = "table";
    type Record = TableRecord;

    fn path(&self) -> String {
        format!("{:08x}", self.0.0)
    }

    fn parse(path: &str) -> Option<Self> {
        Some(Self(TableId(hex(path, 8)? as u32)))
    }
}

/// A table's id by its database and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableNameKey(pub DatabaseId, pub String);

/// Value of [`TableNameKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableNameRecord {
    /// The table of this name.
    pub id: TableId,
}

impl TableNameKey {
    /// What the names of one database begin with.
    pub fn prefix(database: DatabaseId) -> String {
        format!("{}/{:08x}/", Self::KIND, database.0)
    }
}

impl Key for TableNameKey {
    const KIND: &'static str = "table_name";
    type Record = TableNameRecord;

    fn path(&self) -> String {
        format!("{:08x}/{}", self.0.0, self.1)
    }

    fn parse(path: &str) -> Option<Self> {
        let (database, name) = path.split_once('/')?;
        Some(Self(DatabaseId(hex(database, 8)? as u32), name.to_owned()))
    }
}
