//! Numbers of objects: derived from varve's ids, so that every frontend gives the same.

use varve_model::id::{DatabaseId, TableId};
use varve_model::schema::LogicalType;

/// First number that PostgreSQL gives to users' objects.
const FIRST_NORMAL: i64 = 16_384;
/// Schemas that PostgreSQL numbers itself.
pub(super) const PG_CATALOG: i64 = 11;
const INFORMATION_SCHEMA: i64 = 13_000;
/// The one database and the one role.
pub(super) const DATABASE: i64 = 5;
pub(super) const ROLE: i64 = 10;

/// Of a table.
pub(super) fn table(id: TableId) -> i64 {
    FIRST_NORMAL + i64::from(id.0)
}

/// Of a database, which is a schema there.
pub(super) fn namespace(id: DatabaseId) -> i64 {
    FIRST_NORMAL + i64::from(id.0)
}

/// Of a describing database.
pub(super) fn system_namespace(name: &str) -> i64 {
    if name == "pg_catalog" { PG_CATALOG } else { INFORMATION_SCHEMA }
}

/// Of a describing table, by its place in the list of its database.
pub(super) fn system_table(database: &str, at: usize) -> i64 {
    let base = if database == "pg_catalog" { 12_000 } else { 13_100 };
    base + at as i64
}

/// A type: number, name, bytes (-1: any), category, array's number, name that `format_type` gives.
pub(super) type PgType = (i64, &'static str, i64, &'static str, i64, &'static str);

/// The types that answers may have.
pub(super) const TYPES: [PgType; 22] = [
    (16, "bool", 1, "B", 1000, "boolean"),
    (17, "bytea", -1, "U", 1001, "bytea"),
    (18, "char", 1, "Z", 1002, "\"char\""),
    (19, "name", 64, "S", 1003, "name"),
    (20, "int8", 8, "N", 1016, "bigint"),
    (21, "int2", 2, "N", 1005, "smallint"),
    (23, "int4", 4, "N", 1007, "integer"),
    (25, "text", -1, "S", 1009, "text"),
    (26, "oid", 4, "N", 1028, "oid"),
    (114, "json", -1, "U", 199, "json"),
    (700, "float4", 4, "N", 1021, "real"),
    (701, "float8", 8, "N", 1022, "double precision"),
    (1042, "bpchar", -1, "S", 1014, "character"),
    (1043, "varchar", -1, "S", 1015, "character varying"),
    (1082, "date", 4, "D", 1182, "date"),
    (1083, "time", 8, "D", 1183, "time without time zone"),
    (1114, "timestamp", 8, "D", 1115, "timestamp without time zone"),
    (1184, "timestamptz", 8, "D", 1185, "timestamp with time zone"),
    (1186, "interval", 16, "T", 1187, "interval"),
    (1700, "numeric", -1, "N", 1231, "numeric"),
    (2950, "uuid", 16, "U", 2951, "uuid"),
    (3802, "jsonb", -1, "U", 3807, "jsonb"),
];

/// The type's number of a column.
pub(super) fn of_logical(logical: LogicalType) -> i64 {
    match logical {
        LogicalType::Boolean => 16,
        LogicalType::Int8 | LogicalType::Int16 | LogicalType::UInt8 => 21,
        LogicalType::Int32 | LogicalType::UInt16 => 23,
        LogicalType::Int64 | LogicalType::UInt32 => 20,
        LogicalType::UInt64 => 1700,
        LogicalType::Float32 => 700,
        LogicalType::Float64 => 701,
        LogicalType::String => 25,
        LogicalType::Json => 114,
        LogicalType::Binary => 17,
        LogicalType::Date => 1082,
        LogicalType::Timestamp(_) => 1114,
    }
}
