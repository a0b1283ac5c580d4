//! Types of columns, as MySQL's clients know them.

use bytes::{BufMut, BytesMut};
use mysql_common::constants::{ColumnFlags, ColumnType as Kind};
use mysql_common::io::BufMutExt;
use varve_model::schema::LogicalType;
use varve_model::time::TimeUnit;

use crate::output::column::{Column, ColumnType};

/// utf8mb4_bin: text is UTF-8 and compared by its bytes.
pub(super) const UTF8MB4: u8 = 46;
/// The character set of everything that is no text.
const BINARY: u16 = 63;
/// Bytes of a text column; MySQL's TEXT in four-byte characters. Longer values come nevertheless.
const TEXT_BYTES: u32 = 262_140;
/// Decimals of a float whose digits vary.
const DECIMALS_VARY: u8 = 31;
/// Bytes of a definition after its names.
const FIXED_BYTES: u8 = 12;

/// What a column definition says about values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) kind: Kind,
    pub(super) flags: ColumnFlags,
    pub(super) charset: u16,
    /// Characters a value takes at most, for clients that align columns.
    pub(super) length: u32,
    pub(super) decimals: u8,
}

impl Shape {
    fn number(kind: Kind, length: u32) -> Self {
        Self { kind, flags: ColumnFlags::BINARY_FLAG, charset: BINARY, length, decimals: 0 }
    }

    fn unsigned(kind: Kind, length: u32) -> Self {
        let flags = ColumnFlags::BINARY_FLAG | ColumnFlags::UNSIGNED_FLAG;
        Self { flags, ..Self::number(kind, length) }
    }

    fn text(kind: Kind) -> Self {
        let charset = u16::from(UTF8MB4);
        Self { kind, flags: ColumnFlags::empty(), charset, length: TEXT_BYTES, decimals: 0 }
    }

    /// The shape of a column.
    pub(super) fn of(column: &Column) -> Self {
        let logical = match column.kind {
            ColumnType::Null => return Self::number(Kind::MYSQL_TYPE_NULL, 0),
            ColumnType::Other => return Self::text(Kind::MYSQL_TYPE_VAR_STRING),
            ColumnType::Decimal { precision, scale } => {
                let length = u32::from(precision) + 2;
                let decimals = u8::try_from(scale).unwrap_or(0);
                return Self { decimals, ..Self::number(Kind::MYSQL_TYPE_NEWDECIMAL, length) };
            }
            ColumnType::Logical(logical) => logical,
        };
        match logical {
            LogicalType::Boolean => Self::number(Kind::MYSQL_TYPE_TINY, 1),
            LogicalType::Int8 => Self::number(Kind::MYSQL_TYPE_TINY, 4),
            LogicalType::Int16 => Self::number(Kind::MYSQL_TYPE_SHORT, 6),
            LogicalType::Int32 => Self::number(Kind::MYSQL_TYPE_LONG, 11),
            LogicalType::Int64 => Self::number(Kind::MYSQL_TYPE_LONGLONG, 20),
            LogicalType::UInt8 => Self::unsigned(Kind::MYSQL_TYPE_TINY, 3),
            LogicalType::UInt16 => Self::unsigned(Kind::MYSQL_TYPE_SHORT, 5),
            LogicalType::UInt32 => Self::unsigned(Kind::MYSQL_TYPE_LONG, 10),
            LogicalType::UInt64 => Self::unsigned(Kind::MYSQL_TYPE_LONGLONG, 20),
            LogicalType::Float32 => Self { decimals: DECIMALS_VARY, ..Self::number(Kind::MYSQL_TYPE_FLOAT, 12) },
            LogicalType::Float64 => Self { decimals: DECIMALS_VARY, ..Self::number(Kind::MYSQL_TYPE_DOUBLE, 22) },
            LogicalType::String => Self::text(Kind::MYSQL_TYPE_VAR_STRING),
            LogicalType::Json => Self::text(Kind::MYSQL_TYPE_JSON),
            LogicalType::Binary => {
                let flags = ColumnFlags::BINARY_FLAG | ColumnFlags::BLOB_FLAG;
                Self { flags, charset: BINARY, ..Self::text(Kind::MYSQL_TYPE_BLOB) }
            }
            LogicalType::Date => Self::number(Kind::MYSQL_TYPE_DATE, 10),
            LogicalType::Timestamp(unit) => {
                let decimals = decimals(unit);
                let fraction = if decimals == 0 { 0 } else { u32::from(decimals) + 1 };
                Self { decimals, ..Self::number(Kind::MYSQL_TYPE_DATETIME, 19 + fraction) }
            }
        }
    }
}

/// Digits behind a second's point; MySQL has six at most.
pub(super) fn decimals(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond | TimeUnit::Nanosecond => 6,
    }
}

/// The payload that defines a column of an answer. mysql_common's own writer puts length before character set.
pub(super) fn definition(out: &mut BytesMut, column: &Column, table: &str) {
    write(out, &Shape::of(column), &column.name, table);
}

/// The payload that defines a parameter: clients are told how many there are, not of which type.
pub(super) fn parameter(out: &mut BytesMut) {
    let shape = Shape { charset: BINARY, flags: ColumnFlags::BINARY_FLAG, ..Shape::text(Kind::MYSQL_TYPE_VAR_STRING) };
    write(out, &shape, "?", "");
}

fn write(out: &mut BytesMut, shape: &Shape, name: &str, table: &str) {
    // Catalog, database, table and its alias, column and its alias.
    for text in ["def", "", table, table, name, name] {
        out.put_lenenc_str(text.as_bytes());
    }
    out.put_u8(FIXED_BYTES);
    out.put_u16_le(shape.charset);
    out.put_u32_le(shape.length);
    out.put_u8(shape.kind as u8);
    out.put_u16_le(shape.flags.bits());
    out.put_u8(shape.decimals);
    out.put_u16_le(0);
}
