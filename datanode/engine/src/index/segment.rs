//! The index segment: registry keys of series defined between two flushes, as one object.
//!
//! WAL blocks define series; once they are trimmed, the segments are what is
//! left of the definitions. Layout: docs/format/index-segment.md.

use std::io::Read;

use bytes::Bytes;
use varve_model::id::SeriesId;
use varve_model::limits::SERIES_KEY_BYTES_MAX;
use varve_model::series::SeriesKeys;
use varve_model::{Error, Result};

use super::SeriesIndex;
use super::meta::IndexSegmentMeta;
use crate::format::checksum::crc32c;
use crate::store::FileContext;
use crate::store::path::RegionPaths;

const MAGIC: &[u8; 8] = b"VARVEIDX";
const FORMAT: u32 = 1;
/// Magic, format, first id, count, bytes of the keys before compression.
const HEADER_BYTES: usize = 8 + 4 + 4 + 4 + 8;

/// The bytes of a segment.
pub fn encode(first: SeriesId, keys: &SeriesKeys) -> Result<Bytes> {
    let mut raw = Vec::with_capacity(keys.bytes_len() + keys.len() * 2);
    for key in keys.iter() {
        raw.extend_from_slice(&(key.len() as u32).to_le_bytes());
        raw.extend_from_slice(key);
    }
    let packed = zstd::bulk::compress(&raw, 3)
        .map_err(|error| Error::internal("zstd refused an index segment").with_source(error))?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + packed.len() + 4);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&first.0.to_le_bytes());
    bytes.extend_from_slice(&(keys.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&(raw.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&packed);
    let crc = crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    Ok(bytes.into())
}

/// First id and keys of a segment. Errors: `Corrupt`.
pub fn decode(bytes: &[u8]) -> Result<(SeriesId, SeriesKeys)> {
    let bad = |what: &str| Error::corrupt(format!("index segment: {what}"));
    if bytes.len() < HEADER_BYTES + 4 {
        return Err(bad("too short"));
    }
    let (body, crc) = bytes.split_at(bytes.len() - 4);
    if crc32c(body).to_le_bytes() != crc {
        return Err(bad("checksum"));
    }
    if &body[..8] != MAGIC {
        return Err(bad("not a segment"));
    }
    let u32_at = |at: usize| u32::from_le_bytes(body[at..at + 4].try_into().expect("four bytes"));
    if u32_at(8) != FORMAT {
        return Err(bad("unknown format version"));
    }
    let (first, count) = (u32_at(12), u32_at(16));
    let raw_bytes = u64::from_le_bytes(body[20..28].try_into().expect("eight bytes"));
    if first.checked_add(count).is_none() || raw_bytes > u64::from(count) * (4 + SERIES_KEY_BYTES_MAX as u64) {
        return Err(bad("impossible counts"));
    }
    let mut raw = Vec::new();
    let unpacked = zstd::stream::read::Decoder::with_buffer(&body[HEADER_BYTES..])
        .and_then(|decoder| decoder.take(raw_bytes + 1).read_to_end(&mut raw));
    if unpacked.is_err() || raw.len() as u64 != raw_bytes {
        return Err(bad("compressed keys are damaged"));
    }
    let mut keys = SeriesKeys::default();
    let mut rest = raw.as_slice();
    for _ in 0..count {
        let (len, tail) = rest.split_at_checked(4).ok_or_else(|| bad("keys end early"))?;
        let len = u32::from_le_bytes(len.try_into().expect("four bytes")) as usize;
        let (key, tail) = tail.split_at_checked(len).ok_or_else(|| bad("a key ends early"))?;
        keys.push(key);
        rest = tail;
    }
    if !rest.is_empty() {
        return Err(bad("bytes after the last key"));
    }
    Ok((SeriesId(first), keys))
}

/// Uploads the keys of `first..next` as a segment; `None` when there is none.
pub async fn write(
    ctx: &FileContext,
    index: &SeriesIndex,
    first: SeriesId,
    next: SeriesId,
) -> Result<Option<IndexSegmentMeta>> {
    if first >= next {
        return Ok(None);
    }
    let mut keys = SeriesKeys::default();
    for id in first.0..next.0 {
        keys.push(&index.key(SeriesId(id)));
    }
    let name = ctx.fresh_name();
    let body = encode(first, &keys)?;
    let (bytes, crc32c) = ctx.upload(&ctx.paths.index(name), body).await?;
    Ok(Some(IndexSegmentMeta { name, bytes, crc32c, first, count: next.0 - first.0, origin: None }))
}

/// The index made of these segments. Errors: `Corrupt` when they are damaged or leave a gap.
pub async fn load(ctx: &FileContext, segments: &[IndexSegmentMeta]) -> Result<SeriesIndex> {
    let index = SeriesIndex::default();
    let mut segments = segments.iter().collect::<Vec<_>>();
    segments.sort_by_key(|segment| segment.first);
    for meta in segments {
        let path = RegionPaths::new(meta.origin.unwrap_or(ctx.region)).index(meta.name);
        let body = ctx.download(&path, meta.bytes, meta.crc32c).await?;
        let (first, keys) = decode(&body)?;
        if first != meta.first || keys.len() != meta.count as usize {
            return Err(Error::corrupt(format!("index segment {} differs from the manifest", meta.name)));
        }
        index.restore(first, &keys)?;
    }
    Ok(index)
}
