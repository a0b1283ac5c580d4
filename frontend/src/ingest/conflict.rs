//! Which rows of a request cannot be stored, and what the others need.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use varve_model::batch::Vector;
use varve_model::name;
use varve_model::rows::TableRows;
use varve_model::schema::{ColumnRole, NewColumn, StoredType};
use varve_protocol::gateway::{Refused, RefusedCause};

use crate::cluster::Table;

/// Rows refused so far; a row is refused once, for its first cause.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// Empty while no row is refused.
    marks: Vec<bool>,
    pub(super) list: Vec<Refused>,
}

impl Refusals {
    /// Refuses a row.
    pub(super) fn add(&mut self, rows: &TableRows, row: usize, cause: impl FnOnce() -> RefusedCause) {
        if self.marks.is_empty() {
            self.marks = vec![false; rows.len()];
        }
        if !std::mem::replace(&mut self.marks[row], true) {
            self.list.push(Refused { origin: rows.origin[row], cause: cause() });
        }
    }

    /// Refuses every row for which this field has a value.
    pub(super) fn add_field(&mut self, rows: &TableRows, vector: &Vector, cause: &RefusedCause) {
        for row in (0..rows.len()).filter(|&row| vector.is_valid(row)) {
            self.add(rows, row, || cause.clone());
        }
    }

    /// Refuses every row whose series has this tag, or lacks it.
    pub(super) fn add_series(&mut self, rows: &TableRows, tag: &str, has: bool, cause: &RefusedCause) {
        let hit = |key: &[u8]| varve_model::series::tags_of(key).any(|(name, _)| name == tag) == has;
        let slots = rows.keys.iter().map(hit).collect::<Vec<_>>();
        for row in (0..rows.len()).filter(|&row| slots[rows.series[row] as usize]) {
            self.add(rows, row, || cause.clone());
        }
    }

    /// The rows that stay; `None` when all do.
    pub(super) fn kept(&self) -> Option<Vec<u32>> {
        if self.marks.is_empty() {
            return None;
        }
        Some((0..self.marks.len() as u32).filter(|&row| !self.marks[row as usize]).collect())
    }
}

/// What a request's fields mean for a table as it is now.
#[derive(Debug, Default)]
pub(super) struct Fit {
    /// Columns that must be added first.
    pub(super) missing: Vec<NewColumn>,
    /// Fields that fit: index among the request's fields.
    pub(super) fields: Vec<usize>,
}

/// Compares names and types of the request with the table's, or with each other when there is none yet.
///
/// Columns by name, so the cost is per column and not per row.
pub(super) fn fit(rows: &TableRows, table: Option<&Arc<Table>>, time: &str, refusals: &mut Refusals) -> Fit {
    let mut fit = Fit::default();
    let mut new_fields = FxHashMap::<&str, StoredType>::default();
    for tag in &rows.tags {
        let existing = table.and_then(|table| table.column(tag)).map(|column| column.role);
        let existing = if table.is_none() && tag == time { Some(ColumnRole::TimeIndex) } else { existing };
        match existing {
            Some(ColumnRole::Tag) => {}
            Some(role) => refusals.add_series(rows, tag, true, &role_cause(rows, tag, role, ColumnRole::Tag)),
            None => match name::check_column(tag) {
                Ok(()) => fit.missing.push(NewColumn::tag(tag)),
                Err(error) => refusals.add_series(rows, tag, true, &RefusedCause::Rule(error.message().to_owned())),
            },
        }
    }
    for (at, field) in rows.fields.iter().enumerate() {
        let stored = field.vector.values.stored();
        let conflict = match table.and_then(|table| table.column(&field.name)) {
            Some(column) if column.role == ColumnRole::Field && column.logical.stored() == stored => None,
            Some(column) if column.role == ColumnRole::Field => {
                Some(type_cause(rows, &field.name, stored, column.logical.stored()))
            }
            Some(column) => Some(role_cause(rows, &field.name, column.role, ColumnRole::Field)),
            None if table.is_none() && field.name == time => {
                Some(role_cause(rows, &field.name, ColumnRole::TimeIndex, ColumnRole::Field))
            }
            None if rows.tags.contains(&field.name) => {
                Some(role_cause(rows, &field.name, ColumnRole::Tag, ColumnRole::Field))
            }
            None => match (new_fields.get(field.name.as_str()), name::check_column(&field.name)) {
                (_, Err(error)) => Some(RefusedCause::Rule(error.message().to_owned())),
                (Some(first), Ok(())) if *first == stored => None,
                (Some(first), Ok(())) => Some(type_cause(rows, &field.name, stored, *first)),
                (None, Ok(())) => {
                    new_fields.insert(&field.name, stored);
                    fit.missing.push(NewColumn::field(&field.name, field.logical));
                    None
                }
            },
        };
        match conflict {
            None => fit.fields.push(at),
            Some(cause) => refusals.add_field(rows, &field.vector, &cause),
        }
    }
    fit
}

fn type_cause(rows: &TableRows, field: &str, input: StoredType, existing: StoredType) -> RefusedCause {
    RefusedCause::FieldType { table: rows.table.clone(), field: field.to_owned(), input, existing }
}

fn role_cause(rows: &TableRows, column: &str, existing: ColumnRole, input: ColumnRole) -> RefusedCause {
    let word = |role| match role {
        ColumnRole::Tag => "tag",
        ColumnRole::Field => "field",
        ColumnRole::TimeIndex => "time index",
    };
    RefusedCause::Role {
        table: rows.table.clone(),
        column: column.to_owned(),
        existing: word(existing),
        input: word(input),
    }
}
