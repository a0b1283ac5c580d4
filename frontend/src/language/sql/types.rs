//! Names of types that may be written.

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
        T::String(_)
        | T::Text
        | T::TinyText
        | T::MediumText
        | T::LongText
        | T::Varchar(_)
        | T::Char(_)
        | T::Character(_)
        | T::CharacterVarying(_)
        | T::CharVarying(_)
        | T::Nvarchar(_) => LogicalType::String,
        T::JSON | T::JSONB => LogicalType::Json,
        T::Binary(_)
        | T::Varbinary(_)
        | T::Blob(_)
        | T::TinyBlob
        | T::MediumBlob
        | T::LongBlob
        | T::Bytes(_)
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
