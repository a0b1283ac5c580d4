//! Names of types: what may be written, and what SHOW and DESC print.

use datafusion::sql::sqlparser::ast::DataType;
use varve_model::schema::LogicalType;
use varve_model::time::TimeUnit;
use varve_model::{Error, Result};

/// The logical type of a written one. Errors: `Unsupported` naming it.
pub(super) fn logical_type(written: &DataType) -> Result<LogicalType> {
    use DataType as T;
    Ok(match written {
        T::Bool | T::Boolean => LogicalType::Boolean,
        T::TinyInt(_) => LogicalType::Int8,
        T::SmallInt(_) | T::Int2(_) | T::Int16 => LogicalType::Int16,
        T::Int(_) | T::Integer(_) | T::Int4(_) | T::Int32 | T::MediumInt(_) => LogicalType::Int32,
        T::BigInt(_) | T::Int8(_) | T::Int64 | T::Signed | T::SignedInteger => LogicalType::Int64,
        T::TinyIntUnsigned(_) | T::UInt8 | T::UTinyInt => LogicalType::UInt8,
        T::SmallIntUnsigned(_) | T::Int2Unsigned(_) | T::UInt16 | T::USmallInt => LogicalType::UInt16,
        T::IntUnsigned(_) | T::IntegerUnsigned(_) | T::Int4Unsigned(_) | T::UInt32 | T::MediumIntUnsigned(_) => {
            LogicalType::UInt32
        }
        T::BigIntUnsigned(_) | T::Int8Unsigned(_) | T::UInt64 | T::UBigInt | T::Unsigned | T::UnsignedInteger => {
            LogicalType::UInt64
        }
        T::Float(_) | T::Float4 | T::Float32 | T::Real => LogicalType::Float32,
        T::Double(_) | T::DoublePrecision | T::Float8 | T::Float64 => LogicalType::Float64,
        T::String(_) | T::Text | T::TinyText | T::MediumText | T::LongText | T::Varchar(_) | T::Char(_)
        | T::Character(_) | T::CharacterVarying(_) | T::CharVarying(_) | T::Nvarchar(_) => LogicalType::String,
        T::JSON | T::JSONB => LogicalType::Json,
        T::Binary(_) | T::Varbinary(_) | T::Blob(_) | T::TinyBlob | T::MediumBlob | T::LongBlob | T::Bytes(_)
        | T::Bytea => LogicalType::Binary,
        T::Date => LogicalType::Date,
        T::Datetime(None) => LogicalType::Timestamp(TimeUnit::Microsecond),
        T::Timestamp(precision, _) => LogicalType::Timestamp(unit(precision.unwrap_or(3), written)?),
        T::Datetime(Some(precision)) => LogicalType::Timestamp(unit(*precision, written)?),
        T::Custom(name, modifiers) if modifiers.is_empty() => custom(&name.to_string(), written)?,
        other => return Err(unsupported(other)),
    })
}

fn custom(name: &str, written: &DataType) -> Result<LogicalType> {
    Ok(match name.to_lowercase().as_str() {
        "timestamp_s" | "timestamp_sec" | "timestampsecond" => LogicalType::Timestamp(TimeUnit::Second),
        "timestamp_ms" | "timestampmillisecond" => LogicalType::Timestamp(TimeUnit::Millisecond),
        "timestamp_us" | "timestampmicrosecond" => LogicalType::Timestamp(TimeUnit::Microsecond),
        "timestamp_ns" | "timestampnanosecond" => LogicalType::Timestamp(TimeUnit::Nanosecond),
        "uint8" => LogicalType::UInt8,
        "uint16" => LogicalType::UInt16,
        "uint32" => LogicalType::UInt32,
        "uint64" => LogicalType::UInt64,
        _ => return Err(unsupported(written)),
    })
}

fn unit(precision: u64, written: &DataType) -> Result<TimeUnit> {
    match precision {
        0 => Ok(TimeUnit::Second),
        3 => Ok(TimeUnit::Millisecond),
        6 => Ok(TimeUnit::Microsecond),
        9 => Ok(TimeUnit::Nanosecond),
        _ => Err(unsupported(written).with_hint("a timestamp has precision 0, 3, 6 or 9")),
    }
}

fn unsupported(written: &DataType) -> Error {
    Error::unsupported(format!("type {written} is not supported"))
}

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
