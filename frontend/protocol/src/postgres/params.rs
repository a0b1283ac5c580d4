//! Parameters of prepared statements into values.
//!
//! Dates, times and exact numbers become text: the plan casts them to the type
//! it needs, as it does with literals.

use std::fmt::Write as _;

use bytes::{Buf, Bytes};
use chrono::{DateTime, Datelike};
use varve_model::value::Value;

use super::encode::{EPOCH_DAYS, EPOCH_MICROS};
use super::failure::Failure;
use super::kind::{self, Format};

/// The value of a parameter of type `oid`. Errors: the text or bytes do not fit the type.
pub(super) fn value(oid: u32, format: Format, bytes: &Bytes) -> Result<Value, Failure> {
    match format {
        Format::Text => {
            let text = std::str::from_utf8(bytes)
                .map_err(|_| Failure::new("22021", "invalid byte sequence for encoding \"UTF8\""))?;
            of_text(oid, text)
        }
        Format::Binary => of_binary(oid, bytes),
    }
}

/// Bytes that values take.
pub(super) fn bytes(values: &[Value]) -> usize {
    let own = values.iter().map(|value| match value {
        Value::String(text) => text.capacity(),
        Value::Binary(bytes) => bytes.capacity(),
        Value::Null | Value::F64(_) | Value::I64(_) | Value::U64(_) | Value::Bool(_) => 0,
    });
    size_of_val(values) + own.sum::<usize>()
}

fn of_text(oid: u32, text: &str) -> Result<Value, Failure> {
    let bad = |name: &str| Failure::new("22P02", format!("invalid input syntax for type {name}: \"{text}\""));
    let trimmed = text.trim();
    match oid {
        kind::BOOL => match trimmed.to_ascii_lowercase().as_str() {
            "t" | "true" | "yes" | "on" | "1" | "y" => Ok(Value::Bool(true)),
            "f" | "false" | "no" | "off" | "0" | "n" => Ok(Value::Bool(false)),
            _ => Err(bad("boolean")),
        },
        kind::INT2 | kind::INT4 | kind::INT8 | kind::OID => {
            trimmed.parse().map(Value::I64).map_err(|_| bad(integer_name(oid)))
        }
        kind::FLOAT4 | kind::FLOAT8 => trimmed.parse().map(Value::F64).map_err(|_| bad("double precision")),
        kind::NUMERIC => number(trimmed).ok_or_else(|| bad("numeric")),
        kind::BYTEA => bytea(text).map(Value::Binary).ok_or_else(|| bad("bytea")),
        _ => Ok(Value::String(text.to_owned())),
    }
}

fn integer_name(oid: u32) -> &'static str {
    match oid {
        kind::INT2 => "smallint",
        kind::INT4 => "integer",
        kind::OID => "oid",
        _ => "bigint",
    }
}

/// An exact number as the closest value we have.
fn number(text: &str) -> Option<Value> {
    if let Ok(value) = text.parse() {
        return Some(Value::I64(value));
    }
    if let Ok(value) = text.parse() {
        return Some(Value::U64(value));
    }
    text.parse().ok().map(Value::F64)
}

/// Bytes in hex form, or in the older escape form.
fn bytea(text: &str) -> Option<Vec<u8>> {
    if let Some(hex) = text.strip_prefix("\\x") {
        let (pairs, []) = hex.as_bytes().as_chunks::<2>() else { return None };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        return pairs.iter().map(|[high, low]| Some((digit(*high)? << 4 | digit(*low)?) as u8)).collect();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        match (first, tail) {
            (b'\\', [b'\\', tail @ ..]) => {
                bytes.push(b'\\');
                rest = tail;
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = tail;
            }
            (b'\\', _) => return None,
            (byte, tail) => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    Some(bytes)
}

fn of_binary(oid: u32, bytes: &Bytes) -> Result<Value, Failure> {
    let bad = || Failure::new("22P03", "incorrect binary data format in bind parameter");
    let text = |bytes: &[u8]| {
        std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|_| Failure::new("22021", "invalid byte sequence for encoding \"UTF8\""))
    };
    let mut data = bytes.clone();
    let sized = |len: usize| if bytes.len() == len { Ok(()) } else { Err(bad()) };
    match oid {
        kind::BOOL => sized(1).map(|()| Value::Bool(data.get_u8() != 0)),
        kind::INT2 => sized(2).map(|()| Value::I64(i64::from(data.get_i16()))),
        kind::INT4 => sized(4).map(|()| Value::I64(i64::from(data.get_i32()))),
        kind::OID => sized(4).map(|()| Value::I64(i64::from(data.get_u32()))),
        kind::INT8 => sized(8).map(|()| Value::I64(data.get_i64())),
        kind::FLOAT4 => sized(4).map(|()| Value::F64(f64::from(data.get_f32()))),
        kind::FLOAT8 => sized(8).map(|()| Value::F64(data.get_f64())),
        kind::BYTEA => Ok(Value::Binary(bytes.to_vec())),
        kind::CHAR | kind::NAME | kind::TEXT | kind::JSON | kind::UNKNOWN | kind::BPCHAR | kind::VARCHAR => {
            text(bytes).map(Value::String)
        }
        kind::JSONB => match bytes.split_first() {
            Some((1, json)) => text(json).map(Value::String),
            _ => Err(bad()),
        },
        kind::DATE => {
            sized(4)?;
            let days = i64::from(data.get_i32()) + EPOCH_DAYS;
            let time = DateTime::from_timestamp(days * 86_400, 0).ok_or_else(bad)?;
            Ok(Value::String(format!("{:04}-{:02}-{:02}", time.year(), time.month(), time.day())))
        }
        kind::TIMESTAMP | kind::TIMESTAMPTZ => {
            sized(8)?;
            let micros = data.get_i64().checked_add(EPOCH_MICROS).ok_or_else(bad)?;
            let time = DateTime::from_timestamp_micros(micros).ok_or_else(bad)?;
            let zone = if oid == kind::TIMESTAMPTZ { "Z" } else { "" };
            Ok(Value::String(format!("{}{zone}", time.format("%Y-%m-%dT%H:%M:%S%.6f"))))
        }
        kind::NUMERIC => numeric(data).and_then(|text| number(&text)).ok_or_else(bad),
        kind::UUID => {
            let id = uuid::Uuid::from_slice(bytes).map_err(|_| bad())?;
            Ok(Value::String(id.to_string()))
        }
        _ => Err(Failure::new("0A000", format!("binary parameters of type {oid} are not supported"))),
    }
}

/// The text of a number in groups of four digits; `None` when malformed, or NaN and infinities.
fn numeric(mut data: Bytes) -> Option<String> {
    const NEGATIVE: u16 = 0x4000;
    if data.len() < 8 {
        return None;
    }
    let (count, weight, sign, scale) = (data.get_u16(), data.get_i16(), data.get_u16(), data.get_u16());
    if data.len() != usize::from(count) * 2 || !matches!(sign, 0 | NEGATIVE) {
        return None;
    }
    let groups = (0..count).map(|_| data.get_u16()).collect::<Vec<_>>();
    if groups.iter().any(|group| *group > 9999) {
        return None;
    }
    let group = |place: i32| usize::try_from(place).ok().and_then(|place| groups.get(place)).copied().unwrap_or(0);
    let mut text = String::from(if sign == NEGATIVE { "-" } else { "" });
    text.push('0');
    for place in 0..=i32::from(weight) {
        write!(text, "{:04}", group(place)).ok()?;
    }
    let mut fraction = String::new();
    for place in 0..=i32::from(scale) / 4 {
        write!(fraction, "{:04}", group(i32::from(weight) + 1 + place)).ok()?;
    }
    fraction.truncate(usize::from(scale));
    if !fraction.is_empty() {
        text.push('.');
        text += &fraction;
    }
    Some(text)
}
