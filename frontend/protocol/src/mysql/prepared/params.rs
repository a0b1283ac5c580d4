//! Parameters of prepared statements into values.
//!
//! Clients choose the type they send, often text for everything; the statement
//! knows the type it needs. Dates and times become text: the plan casts them to
//! the type it needs, as it does with literals.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use arrow_schema::DataType;
use mysql_common::constants::ColumnType as Kind;
use mysql_common::io::ParseBuf;
use varve_model::value::Value;

use super::super::failure::{BAD_TEXT, Failure};

/// The type a client sends a value in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Sent {
    kind: Kind,
    unsigned: bool,
}

/// The flag of an unsigned integer beside its type.
const UNSIGNED: u8 = 0x80;

/// The values of an execution, one per wanted type. `types` are those of the last execution,
/// and are replaced when the client names new ones. Errors: malformed; text that is not UTF-8.
pub(in super::super) fn values(
    bytes: &[u8],
    wanted: &[Option<DataType>],
    types: &mut Vec<Sent>,
    long: &BTreeMap<u16, Vec<u8>>,
) -> Result<Vec<Value>, Failure> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut bytes = ParseBuf(bytes);
    let nulls = bytes.checked_eat(wanted.len().div_ceil(8)).ok_or_else(Failure::malformed)?;
    let named = bytes.checked_eat_u8().ok_or_else(Failure::malformed)?;
    if named == 1 {
        *types = (0..wanted.len()).map(|_| sent(&mut bytes)).collect::<Result<_, _>>()?;
    }
    if types.len() != wanted.len() {
        return Err(Failure::malformed());
    }
    let mut values = Vec::with_capacity(wanted.len());
    for (at, (sent, wanted)) in types.iter().zip(wanted).enumerate() {
        let value = match long.get(&(at as u16)) {
            Some(bytes) => text(bytes, wanted.as_ref())?,
            None if nulls[at / 8] & (1 << (at % 8)) != 0 => Value::Null,
            None => value(&mut bytes, *sent, wanted.as_ref())?,
        };
        values.push(fit(value, wanted.as_ref()));
    }
    if bytes.is_empty() { Ok(values) } else { Err(Failure::malformed()) }
}

fn sent(bytes: &mut ParseBuf<'_>) -> Result<Sent, Failure> {
    let (kind, flags) = bytes.checked_eat_u8().zip(bytes.checked_eat_u8()).ok_or_else(Failure::malformed)?;
    let kind = Kind::try_from(kind).map_err(|_| Failure::malformed())?;
    Ok(Sent { kind, unsigned: flags & UNSIGNED != 0 })
}

fn value(bytes: &mut ParseBuf<'_>, sent: Sent, wanted: Option<&DataType>) -> Result<Value, Failure> {
    let signed = |value: Option<i64>| value.map(Value::I64).ok_or_else(Failure::malformed);
    let unsigned = |value: Option<u64>| {
        let value = value.ok_or_else(Failure::malformed)?;
        Ok(i64::try_from(value).map_or(Value::U64(value), Value::I64))
    };
    match (sent.kind, sent.unsigned) {
        (Kind::MYSQL_TYPE_NULL, _) => Ok(Value::Null),
        (Kind::MYSQL_TYPE_TINY, false) => signed(bytes.checked_eat_i8().map(i64::from)),
        (Kind::MYSQL_TYPE_TINY, true) => unsigned(bytes.checked_eat_u8().map(u64::from)),
        (Kind::MYSQL_TYPE_SHORT | Kind::MYSQL_TYPE_YEAR, false) => signed(bytes.checked_eat_i16_le().map(i64::from)),
        (Kind::MYSQL_TYPE_SHORT | Kind::MYSQL_TYPE_YEAR, true) => unsigned(bytes.checked_eat_u16_le().map(u64::from)),
        (Kind::MYSQL_TYPE_LONG | Kind::MYSQL_TYPE_INT24, false) => signed(bytes.checked_eat_i32_le().map(i64::from)),
        (Kind::MYSQL_TYPE_LONG | Kind::MYSQL_TYPE_INT24, true) => unsigned(bytes.checked_eat_u32_le().map(u64::from)),
        (Kind::MYSQL_TYPE_LONGLONG, false) => signed(bytes.checked_eat_i64_le()),
        (Kind::MYSQL_TYPE_LONGLONG, true) => unsigned(bytes.checked_eat_u64_le()),
        (Kind::MYSQL_TYPE_FLOAT, _) => {
            let bits = bytes.checked_eat_u32_le().ok_or_else(Failure::malformed)?;
            Ok(Value::F64(f64::from(f32::from_bits(bits))))
        }
        (Kind::MYSQL_TYPE_DOUBLE, _) => {
            let bits = bytes.checked_eat_u64_le().ok_or_else(Failure::malformed)?;
            Ok(Value::F64(f64::from_bits(bits)))
        }
        (Kind::MYSQL_TYPE_DATE | Kind::MYSQL_TYPE_DATETIME | Kind::MYSQL_TYPE_TIMESTAMP, _) => date(bytes),
        (Kind::MYSQL_TYPE_TIME, _) => time(bytes),
        (Kind::MYSQL_TYPE_DECIMAL | Kind::MYSQL_TYPE_NEWDECIMAL, _) => {
            let value = text(lenenc(bytes)?, None)?;
            Ok(fit(value, Some(&DataType::Decimal128(38, 0))))
        }
        _ => text(lenenc(bytes)?, wanted),
    }
}

fn lenenc<'b>(bytes: &mut ParseBuf<'b>) -> Result<&'b [u8], Failure> {
    bytes.checked_eat_lenenc_str().ok_or_else(Failure::malformed)
}

/// Bytes of any length: what the statement wants decides between text and binary, else what they are.
fn text(bytes: &[u8], wanted: Option<&DataType>) -> Result<Value, Failure> {
    let binary = |wanted: &DataType| {
        matches!(wanted, DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_))
    };
    match (wanted, std::str::from_utf8(bytes)) {
        (Some(wanted), _) if binary(wanted) => Ok(Value::Binary(bytes.to_vec())),
        (_, Ok(text)) => Ok(Value::String(text.to_owned())),
        (None, Err(_)) => Ok(Value::Binary(bytes.to_vec())),
        (Some(_), Err(_)) => Err(Failure::new(BAD_TEXT, "Invalid utf8mb4 character string")),
    }
}

/// A date with as much of the time as was sent; no bytes at all are MySQL's zero date.
fn date(bytes: &mut ParseBuf<'_>) -> Result<Value, Failure> {
    let len = bytes.checked_eat_u8().ok_or_else(Failure::malformed)?;
    let mut bytes = bytes.checked_eat_buf(usize::from(len)).ok_or_else(Failure::malformed)?;
    if !matches!(len, 0 | 4 | 7 | 11) {
        return Err(Failure::malformed());
    }
    let year = bytes.checked_eat_u16_le().unwrap_or(0);
    let mut next = || bytes.checked_eat_u8().unwrap_or(0);
    let mut shown = format!("{year:04}-{:02}-{:02}", next(), next());
    if len > 4 {
        // Writing to a String cannot fail.
        let _ = write!(shown, " {:02}:{:02}:{:02}", next(), next(), next());
    }
    if len > 7 {
        let _ = write!(shown, ".{:06}", bytes.checked_eat_u32_le().unwrap_or(0));
    }
    Ok(Value::String(shown))
}

/// A span of time, as MySQL writes it.
fn time(bytes: &mut ParseBuf<'_>) -> Result<Value, Failure> {
    let len = bytes.checked_eat_u8().ok_or_else(Failure::malformed)?;
    let mut bytes = bytes.checked_eat_buf(usize::from(len)).ok_or_else(Failure::malformed)?;
    if !matches!(len, 0 | 8 | 12) {
        return Err(Failure::malformed());
    }
    let sign = if bytes.checked_eat_u8().unwrap_or(0) == 1 { "-" } else { "" };
    let days = u64::from(bytes.checked_eat_u32_le().unwrap_or(0));
    let mut next = || bytes.checked_eat_u8().unwrap_or(0);
    let hours = days * 24 + u64::from(next());
    let mut shown = format!("{sign}{hours:02}:{:02}:{:02}", next(), next());
    if len > 8 {
        // Writing to a String cannot fail.
        let _ = write!(shown, ".{:06}", bytes.checked_eat_u32_le().unwrap_or(0));
    }
    Ok(Value::String(shown))
}

/// Drivers send numbers as text, truth as a number, and numbers where text is wanted; MySQL takes them all.
fn fit(value: Value, wanted: Option<&DataType>) -> Value {
    let Some(wanted) = wanted else { return value };
    match &value {
        Value::String(text) => {
            let text = text.trim();
            let fitted = if wanted.is_integer() {
                text.parse().map(Value::I64).ok().or_else(|| text.parse().map(Value::U64).ok())
            } else if wanted.is_floating() {
                text.parse().map(Value::F64).ok()
            } else if wanted.is_numeric() {
                number(text)
            } else if *wanted == DataType::Boolean {
                truth(text)
            } else {
                None
            };
            fitted.unwrap_or(value)
        }
        Value::I64(number) => match wanted {
            DataType::Boolean => Value::Bool(*number != 0),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Value::String(number.to_string()),
            _ => value,
        },
        _ => value,
    }
}

/// An exact number as the closest value we have.
fn number(text: &str) -> Option<Value> {
    let exact = text.parse().map(Value::I64).ok().or_else(|| text.parse().map(Value::U64).ok());
    exact.or_else(|| text.parse().map(Value::F64).ok())
}

fn truth(text: &str) -> Option<Value> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" => Some(Value::Bool(true)),
        "0" | "false" => Some(Value::Bool(false)),
        _ => None,
    }
}
