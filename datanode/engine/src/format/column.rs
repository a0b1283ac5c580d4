//! One field of a WAL block: column id, stored type, validity, packed values.
//!
//! The stored type is explicit, so that a block is read without a catalog.

use varve_model::Result;
use varve_model::batch::{Bitmap, Bytes, FieldColumn, Values, Vector};
use varve_model::id::ColumnId;
use varve_model::schema::StoredType;

use super::cursor::{Cursor, put_varint};
use super::decimal;
use super::pack;

#[cfg(test)]
mod tests;

/// Codes of the stored types; never reused.
pub fn code_of(stored: StoredType) -> u8 {
    match stored {
        StoredType::F64 => 1,
        StoredType::I64 => 2,
        StoredType::U64 => 3,
        StoredType::Bool => 4,
        StoredType::String => 5,
        StoredType::Json => 6,
        StoredType::Binary => 7,
    }
}

fn stored_of(code: u8) -> Option<StoredType> {
    [
        StoredType::F64,
        StoredType::I64,
        StoredType::U64,
        StoredType::Bool,
        StoredType::String,
        StoredType::Json,
        StoredType::Binary,
    ]
    .into_iter()
    .find(|stored| code_of(*stored) == code)
}

const RAW: u8 = 0;
const DECIMAL: u8 = 1;
const LZ4: u8 = 1;

/// Appends a field.
pub fn put(bytes: &mut Vec<u8>, field: &FieldColumn) {
    bytes.extend_from_slice(&field.column.0.to_le_bytes());
    bytes.push(code_of(field.stored()));
    match &field.vector.validity {
        None => bytes.push(0),
        Some(validity) => {
            bytes.push(1);
            bytes.extend(validity.words().iter().flat_map(|word| word.to_le_bytes()));
        }
    }
    match &field.vector.values {
        Values::F64(values) => put_floats(bytes, values),
        Values::I64(values) => pack::put_references(bytes, values.iter().copied()),
        Values::U64(values) => pack::put_references(bytes, values.iter().map(|&value| value as i64)),
        Values::Bool(values) => put_bools(bytes, values),
        Values::String(values) | Values::Json(values) | Values::Binary(values) => put_texts(bytes, values),
    }
}

/// Reads a field of `rows` rows.
pub fn take(cursor: &mut Cursor<'_>, rows: usize) -> Result<FieldColumn> {
    let column = ColumnId(cursor.u32()?);
    let code = cursor.u8()?;
    let stored = stored_of(code).ok_or_else(|| cursor.bad(&format!("field type {code} is unknown")))?;
    let validity = match cursor.u8()? {
        0 => None,
        1 => {
            let words = cursor.take(rows.div_ceil(64) * 8)?;
            let words = words.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
            Some(Bitmap::from_words(words, rows).ok_or_else(|| cursor.bad("a validity has bits behind its end"))?)
        }
        _ => return Err(cursor.bad("a validity flag is unknown")),
    };
    if pack::bytes_min(rows).min(rows.div_ceil(8)) > cursor.left() {
        return Err(cursor.bad("ends too early"));
    }
    let values = match stored {
        StoredType::F64 => Values::F64(take_floats(cursor, rows)?),
        StoredType::I64 => Values::I64(take_integers(cursor, rows)?),
        StoredType::U64 => Values::U64(take_integers(cursor, rows)?.into_iter().map(|value| value as u64).collect()),
        StoredType::Bool => Values::Bool(take_bools(cursor, rows)?),
        StoredType::String => Values::String(take_texts(cursor, rows, Text::Utf8)?),
        StoredType::Json => Values::Json(take_texts(cursor, rows, Text::Utf8)?),
        StoredType::Binary => Values::Binary(take_texts(cursor, rows, Text::Bytes)?),
    };
    Ok(FieldColumn { column, vector: Vector { values, validity } })
}

fn take_integers(cursor: &mut Cursor<'_>, rows: usize) -> Result<Vec<i64>> {
    let mut values = Vec::with_capacity(rows);
    pack::take_references(cursor, rows, |value| values.push(value))?;
    Ok(values)
}

/// Decimal: exponent, packed integers, then the exceptions as (row, bits).
fn put_floats(bytes: &mut Vec<u8>, values: &[f64]) {
    let exceptions_max = values.len() / 16;
    let Some(e) = decimal::exponent_for(values, exceptions_max) else {
        bytes.push(RAW);
        bytes.extend(values.iter().flat_map(|value| value.to_bits().to_le_bytes()));
        return;
    };
    bytes.push(DECIMAL);
    bytes.push(e);
    let mut exceptions = Vec::new();
    let mut previous = 0;
    let lowered = values.iter().enumerate().map(|(row, &value)| {
        // An exception repeats its predecessor, so that it does not widen the frame.
        previous = decimal::lower(value, e).unwrap_or_else(|| {
            exceptions.push((row as u32, value.to_bits()));
            previous
        });
        previous
    });
    pack::put_references(bytes, lowered);
    put_varint(bytes, exceptions.len() as u64);
    for (row, bits) in exceptions {
        bytes.extend_from_slice(&row.to_le_bytes());
        bytes.extend_from_slice(&bits.to_le_bytes());
    }
}

fn take_floats(cursor: &mut Cursor<'_>, rows: usize) -> Result<Vec<f64>> {
    match cursor.u8()? {
        RAW => {
            let bytes = cursor.take(rows * 8)?;
            Ok(bytes.as_chunks::<8>().0.iter().map(|bits| f64::from_bits(u64::from_le_bytes(*bits))).collect())
        }
        DECIMAL => {
            let e = cursor.u8()?;
            if e > decimal::EXPONENT_MAX {
                return Err(cursor.bad("a decimal exponent is too large"));
            }
            let mut values = Vec::with_capacity(rows);
            pack::take_references(cursor, rows, |k| values.push(decimal::raise(k, e)))?;
            for _ in 0..cursor.varint()? {
                let row = cursor.u32()? as usize;
                let bits = cursor.u64()?;
                *values.get_mut(row).ok_or_else(|| cursor.bad("an exception names no row"))? = f64::from_bits(bits);
            }
            Ok(values)
        }
        _ => Err(cursor.bad("a float encoding is unknown")),
    }
}

fn put_bools(bytes: &mut Vec<u8>, values: &[bool]) {
    for eight in values.chunks(8) {
        bytes.push(eight.iter().enumerate().fold(0, |byte, (bit, &value)| byte | u8::from(value) << bit));
    }
}

fn take_bools(cursor: &mut Cursor<'_>, rows: usize) -> Result<Vec<bool>> {
    let bytes = cursor.take(rows.div_ceil(8))?;
    Ok((0..rows).map(|row| bytes[row / 8] >> (row % 8) & 1 == 1).collect())
}

/// Lengths packed, then the bytes, compressed when that pays.
fn put_texts(bytes: &mut Vec<u8>, values: &Bytes) {
    let mut start = 0;
    let lengths = values.ends.iter().map(|&end| {
        let len = end - start;
        start = end;
        i64::from(len)
    });
    pack::put_references(bytes, lengths);
    let compressed = lz4_flex::block::compress(&values.data);
    let (mode, data) =
        if compressed.len() < values.data.len() { (LZ4, compressed.as_slice()) } else { (RAW, values.data.as_slice()) };
    bytes.push(mode);
    put_varint(bytes, data.len() as u64);
    bytes.extend_from_slice(data);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Text {
    Utf8,
    Bytes,
}

fn take_texts(cursor: &mut Cursor<'_>, rows: usize, text: Text) -> Result<Bytes> {
    let mut ends = Vec::with_capacity(rows);
    let mut end = 0u64;
    let mut negative = false;
    pack::take_references(cursor, rows, |len| {
        negative |= len < 0;
        end = end.saturating_add(len as u64);
        ends.push(end as u32);
    })?;
    let mode = cursor.u8()?;
    let len = usize::try_from(cursor.varint()?).map_err(|_| cursor.bad("a text is too long"))?;
    let data = cursor.take(len)?;
    // LZ4 expands at most 255 times, which bounds the allocation by the input.
    if negative || end > u64::from(u32::MAX) || end > (data.len() as u64 + 16) * 256 {
        return Err(cursor.bad("text lengths make no sense"));
    }
    let data = match mode {
        RAW => data.to_vec(),
        LZ4 => lz4_flex::block::decompress(data, end as usize).map_err(|_| cursor.bad("text does not decompress"))?,
        _ => return Err(cursor.bad("a text encoding is unknown")),
    };
    if data.len() as u64 != end {
        return Err(cursor.bad("text lengths make no sense"));
    }
    let values = Bytes { ends, data };
    if text == Text::Utf8 && !(0..rows).all(|row| std::str::from_utf8(values.get(row)).is_ok()) {
        return Err(cursor.bad("a text is not UTF-8"));
    }
    Ok(values)
}
