//! What every protocol fills: rows by table, columnar, with a series slot per row.
//!
//! Names are still text here; `ingest/resolve` turns them into columns.

use crate::batch::{Values, Vector};
use crate::schema::{LogicalType, StoredType};
use crate::series::SeriesKeys;
use crate::time::TimeUnit;

/// The rows of one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// One entry per table, in order of first appearance.
    pub tables: Vec<TableRows>,
}

impl Rows {
    /// Number of rows of all tables.
    pub fn len(&self) -> usize {
        self.tables.iter().map(TableRows::len).sum()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.tables.iter().all(TableRows::is_empty)
    }
}

/// One field as the client sent it.
#[derive(Clone, Debug, PartialEq)]
pub struct RowField {
    /// Case-sensitive name.
    pub name: String,
    /// The logical type a new column gets; its stored type is the vector's.
    pub logical: LogicalType,
    /// One value per row of the table.
    pub vector: Vector,
}

/// Rows of one table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableRows {
    /// Table name.
    pub table: String,
    /// Unit of `ts`.
    pub unit: TimeUnit,
    /// Distinct tag names over all series, in order of first appearance: the order of a new table's key.
    pub tags: Vec<String>,
    /// Registry keys of the distinct series.
    pub keys: SeriesKeys,
    /// Per row: a slot of `keys`.
    pub series: Vec<u32>,
    /// Per row: the timestamp in `unit`.
    pub ts: Vec<i64>,
    /// Per row: where it stood in the request (line or tuple number from 0), for error texts.
    pub origin: Vec<u32>,
    /// Fields in order of first appearance, each as long as `ts`.
    ///
    /// A name may stand twice with different stored types: the first is the
    /// type of the request, rows of the others are refused by resolve.
    pub fields: Vec<RowField>,
}

impl TableRows {
    /// No rows of a table.
    pub fn new(table: impl Into<String>, unit: TimeUnit) -> Self {
        Self {
            table: table.into(),
            unit,
            tags: Vec::new(),
            keys: SeriesKeys::default(),
            series: Vec::new(),
            ts: Vec::new(),
            origin: Vec::new(),
            fields: Vec::new(),
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ts.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.ts.is_empty()
    }

    /// The field of this name and type, created with nulls for the rows so far when absent.
    pub fn field_mut(&mut self, name: &str, stored: StoredType) -> usize {
        let found = self.fields.iter().position(|field| field.name == name && field.vector.values.stored() == stored);
        found.unwrap_or_else(|| {
            let vector = if self.ts.is_empty() {
                Vector { values: Values::new(stored), validity: None }
            } else {
                Vector::nulls(stored, self.ts.len())
            };
            self.fields.push(RowField { name: name.to_owned(), logical: stored.logical(), vector });
            self.fields.len() - 1
        })
    }
}
