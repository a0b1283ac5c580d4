//! Columns of a table and how they may change.
//!
//! A column has a *logical* type, which users see and which is range-checked,
//! and a *stored* type, one of seven, which is all that WAL and SST know. A cast
//! always starts from the stored type, so that no chain of ALTERs loses twice.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Reason, Result};
use crate::id::{ColumnId, SchemaVersion};
use crate::limits::{COLUMNS_MAX, TAGS_MAX};
use crate::name;
use crate::time::TimeUnit;
use crate::value::Value;

pub mod reserved;
#[cfg(test)]
mod tests;

use reserved::ColumnMerge;

/// What a column is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnRole {
    /// Part of the series key; always text.
    Tag,
    /// The timestamp.
    TimeIndex,
    /// A measured value.
    Field,
}

/// The type users declared and see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogicalType {
    /// BOOLEAN.
    Boolean,
    /// TINYINT.
    Int8,
    /// SMALLINT.
    Int16,
    /// INT.
    Int32,
    /// BIGINT.
    Int64,
    /// TINYINT UNSIGNED.
    UInt8,
    /// SMALLINT UNSIGNED.
    UInt16,
    /// INT UNSIGNED.
    UInt32,
    /// BIGINT UNSIGNED.
    UInt64,
    /// FLOAT.
    Float32,
    /// DOUBLE.
    Float64,
    /// STRING, TEXT, VARCHAR.
    String,
    /// JSON text.
    Json,
    /// BINARY, BLOB.
    Binary,
    /// DATE, in days since the epoch.
    Date,
    /// TIMESTAMP of a unit.
    Timestamp(TimeUnit),
}

/// The type in WAL blocks and SSTs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoredType {
    /// 64-bit float, bits kept.
    F64,
    /// Signed 64-bit integer.
    I64,
    /// Unsigned 64-bit integer.
    U64,
    /// Boolean.
    Bool,
    /// UTF-8 text.
    String,
    /// JSON text.
    Json,
    /// Bytes.
    Binary,
}

impl LogicalType {
    /// The type it is stored as: the nearest of the seven.
    pub fn stored(self) -> StoredType {
        match self {
            Self::Boolean => StoredType::Bool,
            Self::Int8 | Self::Int16 | Self::Int32 | Self::Int64 | Self::Date | Self::Timestamp(_) => StoredType::I64,
            Self::UInt8 | Self::UInt16 | Self::UInt32 | Self::UInt64 => StoredType::U64,
            Self::Float32 | Self::Float64 => StoredType::F64,
            Self::String => StoredType::String,
            Self::Json => StoredType::Json,
            Self::Binary => StoredType::Binary,
        }
    }
}

impl StoredType {
    /// The widest logical type stored this way; what line protocol creates.
    pub fn logical(self) -> LogicalType {
        match self {
            Self::F64 => LogicalType::Float64,
            Self::I64 => LogicalType::Int64,
            Self::U64 => LogicalType::UInt64,
            Self::Bool => LogicalType::Boolean,
            Self::String => LogicalType::String,
            Self::Json => LogicalType::Json,
            Self::Binary => LogicalType::Binary,
        }
    }

    /// The name InfluxDB's error texts use.
    pub fn influx_name(self) -> &'static str {
        match self {
            Self::F64 => "float",
            Self::I64 => "integer",
            Self::U64 => "unsigned",
            Self::Bool => "boolean",
            Self::String => "string",
            Self::Json => "json",
            Self::Binary => "binary",
        }
    }
}

/// What a column gets when an INSERT leaves it out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnDefault {
    /// A constant.
    Value(Value),
    /// The time of the statement.
    CurrentTimestamp,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Never reused within the table.
    pub id: ColumnId,
    /// Case-sensitive name.
    pub name: String,
    /// What it is for.
    pub role: ColumnRole,
    /// What users see.
    pub logical: LogicalType,
    /// Whether NULL may be stored.
    pub nullable: bool,
    /// What it gets when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<ColumnDefault>,
    /// The user's comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Reserved: how its values merge; by the table's mode when left out. Refused when set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<ColumnMerge>,
}

/// A column as asked for, before metasrv gives it an id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewColumn {
    /// Case-sensitive name.
    pub name: String,
    /// What it is for.
    pub role: ColumnRole,
    /// What users see.
    pub logical: LogicalType,
    /// Whether NULL may be stored.
    pub nullable: bool,
    /// What it gets when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<ColumnDefault>,
    /// The user's comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Reserved: how its values merge; by the table's mode when left out. Refused when set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<ColumnMerge>,
}

impl NewColumn {
    /// A nullable tag.
    pub fn tag(name: impl Into<String>) -> Self {
        Self::new(name, ColumnRole::Tag, LogicalType::String)
    }

    /// A nullable field.
    pub fn field(name: impl Into<String>, logical: LogicalType) -> Self {
        Self::new(name, ColumnRole::Field, logical)
    }

    /// A time index.
    pub fn time(name: impl Into<String>, unit: TimeUnit) -> Self {
        Self { nullable: false, ..Self::new(name, ColumnRole::TimeIndex, LogicalType::Timestamp(unit)) }
    }

    fn new(name: impl Into<String>, role: ColumnRole, logical: LogicalType) -> Self {
        Self { name: name.into(), role, logical, nullable: true, default: None, comment: None, merge: None }
    }
}

/// The columns of a table, in creation order, with exactly one time index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    /// +1 at every change.
    pub version: SchemaVersion,
    /// In creation order; the order users see.
    pub columns: Vec<Column>,
    /// The primary key: tags in the order that files are sorted by. A new tag is appended.
    pub primary_key: Vec<ColumnId>,
    /// The id the next column gets; never falls.
    pub next_column: ColumnId,
}

impl Schema {
    /// A first version from columns as asked for; tags form the primary key in
    /// the given order. Errors: `InvalidRequest` naming the column.
    pub fn create(columns: Vec<NewColumn>, primary_key: &[String]) -> Result<Self> {
        let mut schema =
            Self { version: SchemaVersion(0), columns: Vec::new(), primary_key: Vec::new(), next_column: ColumnId(1) };
        let times = columns.iter().filter(|column| column.role == ColumnRole::TimeIndex).count();
        if times != 1 {
            return Err(Error::invalid(format!("a table needs exactly one TIME INDEX column, not {times}"))
                .with_reason(Reason::BadValue));
        }
        schema.append(columns)?;
        for name in primary_key {
            let column = schema.column(name).filter(|column| column.role == ColumnRole::Tag).ok_or_else(|| {
                Error::invalid(format!("primary key column '{name}' is not a tag of the table"))
                    .with_reason(Reason::Column)
            })?;
            schema.primary_key.push(column.id);
        }
        let rest = schema.tags().map(|tag| tag.id).filter(|id| !schema.primary_key.contains(id)).collect::<Vec<_>>();
        schema.primary_key.extend(rest);
        Ok(schema)
    }

    /// The next version, widened by the columns that do not exist yet.
    ///
    /// A column that exists with the same role and stored type is skipped, so
    /// that two writers may ask for the same; another role or type is
    /// `InvalidRequest/TypeConflict`.
    pub fn widen(&self, columns: Vec<NewColumn>) -> Result<Self> {
        let mut fresh = Vec::new();
        for new in columns {
            match self.column(&new.name) {
                None => fresh.push(new),
                Some(old) if old.role == new.role && old.logical.stored() == new.logical.stored() => {}
                Some(old) => {
                    return Err(Error::invalid(format!(
                        "column '{}' exists as {:?} {:?}, asked for as {:?} {:?}",
                        new.name, old.role, old.logical, new.role, new.logical
                    ))
                    .with_reason(Reason::TypeConflict));
                }
            }
        }
        if fresh.is_empty() {
            return Ok(self.clone());
        }
        self.add_columns(fresh)
    }

    /// The next version, with these columns added. Errors: `AlreadyExists`, `InvalidRequest`.
    pub fn add_columns(&self, columns: Vec<NewColumn>) -> Result<Self> {
        let mut next = self.clone();
        next.version = SchemaVersion(self.version.0 + 1);
        if let Some(time) = columns.iter().find(|column| column.role == ColumnRole::TimeIndex) {
            return Err(Error::invalid(format!("column '{}' would be a second TIME INDEX", time.name))
                .with_reason(Reason::BadValue));
        }
        let old_tags = self.primary_key.len();
        next.append(columns)?;
        let tags = next.tags().map(|tag| tag.id).filter(|id| !self.primary_key.contains(id)).collect::<Vec<_>>();
        next.primary_key.extend(tags);
        debug_assert!(next.primary_key.len() >= old_tags);
        Ok(next)
    }

    /// The next version, without a field. Errors: `NotFound`, `InvalidRequest` for keys.
    pub fn drop_column(&self, name: &str) -> Result<Self> {
        let column = self.column(name).ok_or_else(|| missing(name))?;
        if column.role != ColumnRole::Field {
            return Err(Error::invalid(format!("column '{name}' is part of the key and cannot be dropped"))
                .with_reason(Reason::Column));
        }
        let mut next = self.clone();
        next.version = SchemaVersion(self.version.0 + 1);
        next.columns.retain(|column| column.name != name);
        Ok(next)
    }

    fn append(&mut self, columns: Vec<NewColumn>) -> Result<()> {
        let mut names = self.columns.iter().map(|column| column.name.clone()).collect::<HashSet<_>>();
        for new in columns {
            name::check_column(&new.name)?;
            if !names.insert(new.name.clone()) {
                return Err(Error::new(ErrorKind::AlreadyExists, format!("column '{}' already exists", new.name))
                    .with_reason(Reason::Column));
            }
            if new.role == ColumnRole::Tag && new.logical != LogicalType::String {
                return Err(Error::invalid(format!("primary key column '{}' must be STRING: tags are text", new.name))
                    .with_reason(Reason::Unsupported));
            }
            if new.role == ColumnRole::TimeIndex && !matches!(new.logical, LogicalType::Timestamp(_)) {
                return Err(Error::invalid(format!("TIME INDEX column '{}' must be a TIMESTAMP", new.name))
                    .with_reason(Reason::BadValue));
            }
            let id = self.next_column;
            self.next_column = ColumnId(id.0 + 1);
            self.columns.push(Column {
                id,
                name: new.name,
                role: new.role,
                logical: new.logical,
                nullable: new.nullable && new.role != ColumnRole::TimeIndex,
                default: new.default,
                comment: new.comment,
                merge: new.merge,
            });
        }
        if self.columns.len() > COLUMNS_MAX {
            return Err(Error::invalid(format!("a table may have at most {COLUMNS_MAX} columns"))
                .with_reason(Reason::Cardinality));
        }
        if self.tags().count() > TAGS_MAX {
            return Err(
                Error::invalid(format!("a table may have at most {TAGS_MAX} tags")).with_reason(Reason::Cardinality)
            );
        }
        Ok(())
    }

    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The column of this id.
    pub fn column_by_id(&self, id: ColumnId) -> Option<&Column> {
        self.columns.iter().find(|column| column.id == id)
    }

    /// The time index.
    pub fn time_index(&self) -> &Column {
        self.columns
            .iter()
            .find(|column| column.role == ColumnRole::TimeIndex)
            .expect("every schema has a time index: create() checks it")
    }

    /// The unit of the time index.
    pub fn time_unit(&self) -> TimeUnit {
        match self.time_index().logical {
            LogicalType::Timestamp(unit) => unit,
            _ => unreachable!("create() takes only timestamps as time index"),
        }
    }

    /// Tags in creation order.
    pub fn tags(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| column.role == ColumnRole::Tag)
    }

    /// Tags in the order that files are sorted by.
    pub fn key_columns(&self) -> impl Iterator<Item = &Column> {
        self.primary_key.iter().filter_map(|id| self.column_by_id(*id))
    }

    /// Fields in creation order.
    pub fn fields(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| column.role == ColumnRole::Field)
    }
}

/// The error for a column that does not exist.
pub fn missing(name: &str) -> Error {
    Error::not_found(format!("column '{name}' not found")).with_reason(Reason::Column)
}
