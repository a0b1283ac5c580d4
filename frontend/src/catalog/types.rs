//! Types, defaults and durations as SHOW, DESC and the describing tables print them.

use chrono::DateTime;
use varve_model::schema::{ColumnDefault, LogicalType};
use varve_model::table::Ttl;
use varve_model::time::TimeUnit;
use varve_model::value::Value;

/// The type as CREATE TABLE takes it.
pub(crate) fn sql_type(logical: LogicalType) -> &'static str {
    match logical {
        LogicalType::Boolean => "BOOLEAN",
        LogicalType::Int8 => "TINYINT",
        LogicalType::Int16 => "SMALLINT",
        LogicalType::Int32 => "INT",
        LogicalType::Int64 => "BIGINT",
        LogicalType::UInt8 => "TINYINT UNSIGNED",
        LogicalType::UInt16 => "SMALLINT UNSIGNED",
        LogicalType::UInt32 => "INT UNSIGNED",
        LogicalType::UInt64 => "BIGINT UNSIGNED",
        LogicalType::Float32 => "FLOAT",
        LogicalType::Float64 => "DOUBLE",
        LogicalType::String => "STRING",
        LogicalType::Json => "JSON",
        LogicalType::Binary => "VARBINARY",
        LogicalType::Date => "DATE",
        LogicalType::Timestamp(TimeUnit::Second) => "TIMESTAMP(0)",
        LogicalType::Timestamp(TimeUnit::Millisecond) => "TIMESTAMP(3)",
        LogicalType::Timestamp(TimeUnit::Microsecond) => "TIMESTAMP(6)",
        LogicalType::Timestamp(TimeUnit::Nanosecond) => "TIMESTAMP(9)",
    }
}

/// The nearest type that MySQL has, as its COLUMN_TYPE is written.
pub(crate) fn mysql_type(logical: LogicalType) -> &'static str {
    match logical {
        LogicalType::Boolean => "tinyint(1)",
        LogicalType::Int8 => "tinyint",
        LogicalType::Int16 => "smallint",
        LogicalType::Int32 => "int",
        LogicalType::Int64 => "bigint",
        LogicalType::UInt8 => "tinyint unsigned",
        LogicalType::UInt16 => "smallint unsigned",
        LogicalType::UInt32 => "int unsigned",
        LogicalType::UInt64 => "bigint unsigned",
        LogicalType::Float32 => "float",
        LogicalType::Float64 => "double",
        LogicalType::String => "text",
        LogicalType::Json => "json",
        LogicalType::Binary => "blob",
        LogicalType::Date => "date",
        LogicalType::Timestamp(TimeUnit::Second) => "timestamp",
        LogicalType::Timestamp(TimeUnit::Millisecond) => "timestamp(3)",
        // It knows no more digits.
        LogicalType::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond) => "timestamp(6)",
    }
}

/// The type as DESC prints it.
pub(crate) fn describe_type(logical: LogicalType) -> &'static str {
    match logical {
        LogicalType::Boolean => "Boolean",
        LogicalType::Int8 => "Int8",
        LogicalType::Int16 => "Int16",
        LogicalType::Int32 => "Int32",
        LogicalType::Int64 => "Int64",
        LogicalType::UInt8 => "UInt8",
        LogicalType::UInt16 => "UInt16",
        LogicalType::UInt32 => "UInt32",
        LogicalType::UInt64 => "UInt64",
        LogicalType::Float32 => "Float32",
        LogicalType::Float64 => "Float64",
        LogicalType::String => "String",
        LogicalType::Json => "Json",
        LogicalType::Binary => "Binary",
        LogicalType::Date => "Date",
        LogicalType::Timestamp(TimeUnit::Second) => "TimestampSecond",
        LogicalType::Timestamp(TimeUnit::Millisecond) => "TimestampMillisecond",
        LogicalType::Timestamp(TimeUnit::Microsecond) => "TimestampMicrosecond",
        LogicalType::Timestamp(TimeUnit::Nanosecond) => "TimestampNanosecond",
    }
}

/// A ttl as it is written.
pub(crate) fn ttl_text(ttl: Ttl) -> String {
    match ttl {
        Ttl::Forever => "forever".to_owned(),
        Ttl::For(duration) => humantime::format_duration(duration).to_string(),
    }
}

/// A default as DESC shows it.
pub(crate) fn default_text(default: &ColumnDefault, logical: LogicalType) -> String {
    let value = match default {
        ColumnDefault::CurrentTimestamp => return "current_timestamp()".to_owned(),
        ColumnDefault::Value(value) => value,
    };
    match (value, logical) {
        (Value::I64(count), LogicalType::Timestamp(unit)) => timestamp_text(*count, unit.per_second()),
        (Value::I64(days), LogicalType::Date) => DateTime::from_timestamp(days.saturating_mul(86_400), 0)
            .map_or_else(|| days.to_string(), |day| day.format("%Y-%m-%d").to_string()),
        (Value::I64(value), _) => value.to_string(),
        (Value::U64(value), _) => value.to_string(),
        (Value::F64(value), _) => format!("{value:?}"),
        (Value::Bool(value), _) => value.to_string(),
        (Value::String(text), _) => text.clone(),
        (Value::Binary(bytes), _) => String::from_utf8_lossy(bytes).into_owned(),
        (Value::Null, _) => "NULL".to_owned(),
    }
}

fn timestamp_text(count: i64, per_second: i64) -> String {
    let (seconds, rest) = (count.div_euclid(per_second), count.rem_euclid(per_second));
    let nanos = (rest * (1_000_000_000 / per_second)) as u32;
    DateTime::from_timestamp(seconds, nanos)
        .map_or_else(|| count.to_string(), |moment| moment.format("%Y-%m-%d %H:%M:%S%.f%z").to_string())
}
