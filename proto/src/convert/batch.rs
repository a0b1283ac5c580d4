//! A `RegionBatch` as one run of bytes: columns as they lie in memory, no per-cell encoding.
//!
//! Normative layout: docs/format/rpc-batch.md. All numbers are little-endian.
//! Every length is checked against the bytes that are left before anything is
//! allocated, so that hostile bytes cost no more memory than they have.

use varve_model::batch::{Bitmap, Bytes, FieldColumn, RegionBatch, Values, Vector};
use varve_model::id::{ColumnId, RegionEpoch, RegionId, SchemaVersion, Token};
use varve_model::schema::StoredType;
use varve_model::series::SeriesKeys;
use varve_model::{Error, Reason, Result};

#[cfg(test)]
mod tests;

/// First two bytes.
const MAGIC: [u8; 2] = *b"VB";
/// Third byte.
const VERSION: u8 = 1;

const TYPES: [StoredType; 7] = [
    StoredType::F64,
    StoredType::I64,
    StoredType::U64,
    StoredType::Bool,
    StoredType::String,
    StoredType::Json,
    StoredType::Binary,
];

/// The bytes of a batch.
pub(crate) fn encode(batch: &RegionBatch) -> Vec<u8> {
    let mut out = Vec::with_capacity(batch.bytes_len() + 64 + 8 * batch.fields.len());
    out.extend_from_slice(&MAGIC);
    out.push(VERSION);
    put_u64(&mut out, batch.region.0);
    put_u64(&mut out, batch.epoch.0);
    put_u32(&mut out, batch.schema_version.0);
    put_u32(&mut out, batch.tokens.len() as u32);
    for token in &batch.tokens {
        out.extend_from_slice(&token.0);
    }
    put_u32(&mut out, batch.keys.len() as u32);
    for key in batch.keys.iter() {
        put_u32(&mut out, key.len() as u32);
        out.extend_from_slice(key);
    }
    put_u32(&mut out, batch.rows() as u32);
    for &slot in &batch.series {
        put_u32(&mut out, slot);
    }
    for &ts in &batch.ts {
        put_u64(&mut out, ts as u64);
    }
    put_u32(&mut out, batch.fields.len() as u32);
    for field in &batch.fields {
        put_field(&mut out, field);
    }
    out
}

fn put_field(out: &mut Vec<u8>, field: &FieldColumn) {
    put_u32(out, field.column.0);
    let stored = TYPES.iter().position(|stored| *stored == field.stored()).expect("TYPES names every stored type");
    out.push(stored as u8);
    out.push(u8::from(field.vector.validity.is_some()));
    if let Some(validity) = &field.vector.validity {
        for &word in validity.words() {
            put_u64(out, word);
        }
    }
    match &field.vector.values {
        Values::F64(values) => values.iter().for_each(|value| put_u64(out, value.to_bits())),
        Values::I64(values) => values.iter().for_each(|value| put_u64(out, *value as u64)),
        Values::U64(values) => values.iter().for_each(|value| put_u64(out, *value)),
        Values::Bool(values) => out.extend(values.iter().map(|value| u8::from(*value))),
        Values::String(values) | Values::Json(values) | Values::Binary(values) => {
            values.ends.iter().for_each(|end| put_u32(out, *end));
            out.extend_from_slice(&values.data);
        }
    }
}

fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

/// Reads and checks a batch. Errors: `InvalidRequest`.
pub(crate) fn decode(bytes: &[u8]) -> Result<RegionBatch> {
    let mut input = Input(bytes);
    if input.take(2)? != MAGIC {
        return Err(bad("no batch"));
    }
    let version = input.u8()?;
    if version != VERSION {
        return Err(bad(&format!("version {version}, this node knows {VERSION}")).with_reason(Reason::Unsupported));
    }
    let region = RegionId(input.u64()?);
    let epoch = RegionEpoch(input.u64()?);
    let schema_version = SchemaVersion(input.u32()?);
    let tokens = input.u32()? as usize;
    let tokens = input.array::<16>(tokens)?.map(Token).collect();
    let mut keys = SeriesKeys::default();
    for _ in 0..input.u32()? {
        let len = input.u32()? as usize;
        keys.push(input.take(len)?);
    }
    let rows = input.u32()? as usize;
    let series = input.array(rows)?.map(u32::from_le_bytes).collect();
    let ts = input.array(rows)?.map(i64::from_le_bytes).collect();
    let mut fields = Vec::new();
    for _ in 0..input.u32()? {
        fields.push(field(&mut input, rows)?);
    }
    if !input.0.is_empty() {
        return Err(bad("bytes after its end"));
    }
    let batch = RegionBatch { region, epoch, schema_version, keys, series, ts, fields, tokens };
    batch.check()?;
    Ok(batch)
}

fn field(input: &mut Input<'_>, rows: usize) -> Result<FieldColumn> {
    let column = ColumnId(input.u32()?);
    let stored = *TYPES.get(usize::from(input.u8()?)).ok_or_else(|| bad("an unknown type"))?;
    let validity = match input.u8()? {
        0 => None,
        1 => {
            let words = input.array(rows.div_ceil(64))?.map(u64::from_le_bytes).collect();
            Some(Bitmap::from_words(words, rows).ok_or_else(|| bad("stray validity bits"))?)
        }
        _ => return Err(bad("a malformed validity flag")),
    };
    let values = match stored {
        StoredType::F64 => Values::F64(input.array(rows)?.map(f64::from_le_bytes).collect()),
        StoredType::I64 => Values::I64(input.array(rows)?.map(i64::from_le_bytes).collect()),
        StoredType::U64 => Values::U64(input.array(rows)?.map(u64::from_le_bytes).collect()),
        StoredType::Bool => Values::Bool(booleans(input.take(rows)?)?),
        StoredType::String => Values::String(strings(input, rows, true)?),
        StoredType::Json => Values::Json(strings(input, rows, true)?),
        StoredType::Binary => Values::Binary(strings(input, rows, false)?),
    };
    Ok(FieldColumn { column, vector: Vector { values, validity } })
}

fn booleans(bytes: &[u8]) -> Result<Vec<bool>> {
    if bytes.iter().any(|byte| *byte > 1) {
        return Err(bad("a boolean that is neither"));
    }
    Ok(bytes.iter().map(|byte| *byte == 1).collect())
}

/// `ends` rise to the length of the data; text is UTF-8 value by value.
fn strings(input: &mut Input<'_>, rows: usize, is_text: bool) -> Result<Bytes> {
    let ends = input.array(rows)?.map(u32::from_le_bytes).collect::<Vec<_>>();
    if ends.windows(2).any(|pair| pair[0] > pair[1]) {
        return Err(bad("value ends that fall"));
    }
    let data = input.take(ends.last().map_or(0, |end| *end as usize))?;
    if is_text {
        let text = std::str::from_utf8(data).map_err(|_| bad("text that is not UTF-8"))?;
        if ends.iter().any(|end| !text.is_char_boundary(*end as usize)) {
            return Err(bad("a value that ends inside a character"));
        }
    }
    Ok(Bytes { ends, data: data.to_vec() })
}

fn bad(what: &str) -> Error {
    Error::invalid(format!("batch on the wire: {what}"))
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(|| bad("it is cut off"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// `count` groups of `N` bytes.
    fn array<const N: usize>(&mut self, count: usize) -> Result<impl Iterator<Item = [u8; N]> + use<'a, N>> {
        let bytes = self.take(count.checked_mul(N).ok_or_else(|| bad("it is cut off"))?)?;
        Ok(bytes.as_chunks::<N>().0.iter().copied())
    }

    fn one<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.array::<N>(1)?.next().ok_or_else(|| bad("it is cut off"))
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(u8::from_le_bytes(self.one()?))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.one()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.one()?))
    }
}
