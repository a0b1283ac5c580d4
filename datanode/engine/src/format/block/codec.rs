//! Bytes of a WAL block, version 1 (docs/format/wal-block.md).
//!
//! A fixed head tells everything that recovery and indexes need, so that they
//! read no column.

use varve_model::Result;
use varve_model::id::{RegionEpoch, RegionId, SchemaVersion, Sequence, SeriesId, Token};
use varve_model::series::{SeriesKeys, is_valid_key};
use varve_model::time::TimeRange;

use super::{Block, BlockBody};
use crate::format::checksum::crc32c;
use crate::format::cursor::{Cursor, put_varint};
use crate::format::{column, pack};

const MAGIC: [u8; 4] = *b"VBLK";
const VERSION: u16 = 1;
const ROWS: u8 = 0;
const DELETE: u8 = 1;
/// Bytes of the fixed head.
const HEAD: usize = 80;
/// Bytes of the checksum at the end.
const TAIL: usize = 4;

/// The head of a block: what indexes say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHead {
    /// Bytes of the whole block.
    pub len: u32,
    /// Whose rows.
    pub region: RegionId,
    /// The grant under which they were sequenced.
    pub epoch: RegionEpoch,
    /// The schema of the columns.
    pub schema_version: SchemaVersion,
    /// Number of the first row.
    pub first_seq: Sequence,
    /// Sequence numbers taken.
    pub rows: u32,
    /// Smallest and largest timestamp.
    pub time: TimeRange,
    /// Id of the first series defined here.
    pub first_new_series: SeriesId,
    /// Series defined here.
    pub new_series: u32,
    tokens: u32,
    kind: u8,
}

impl BlockHead {
    /// Number of the last row.
    pub fn last_seq(&self) -> Sequence {
        Sequence(self.first_seq.0 + u64::from(self.rows) - 1)
    }
}

/// Appends the block's bytes. Precondition: it takes at least one sequence number and is self-consistent.
pub fn encode(block: &Block, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    let rows = u32::try_from(block.rows()).expect("a block's rows are bounded by WRITE_ROWS_MAX");
    assert!(rows > 0, "a block without rows has no place in the sequence");
    let time = block.time_range();
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.push(if matches!(block.body, BlockBody::Rows { .. }) { ROWS } else { DELETE });
    bytes.push(0);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&block.region.0.to_le_bytes());
    bytes.extend_from_slice(&block.epoch.0.to_le_bytes());
    bytes.extend_from_slice(&block.schema_version.0.to_le_bytes());
    bytes.extend_from_slice(&block.first_seq.0.to_le_bytes());
    bytes.extend_from_slice(&rows.to_le_bytes());
    bytes.extend_from_slice(&time.start.to_le_bytes());
    bytes.extend_from_slice(&time.end.to_le_bytes());
    bytes.extend_from_slice(&(block.tokens.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&block.first_new_series.0.to_le_bytes());
    bytes.extend_from_slice(&(block.new_series.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&[0; 8]);
    debug_assert_eq!(bytes.len() - start, HEAD);
    for token in &block.tokens {
        bytes.extend_from_slice(&token.0);
    }
    for key in block.new_series.iter() {
        put_varint(bytes, key.len() as u64);
        bytes.extend_from_slice(key);
    }
    match &block.body {
        BlockBody::Rows { series, ts, fields } => {
            pack::put_deltas(bytes, series.iter().map(|&id| i64::from(id)));
            pack::put_deltas(bytes, ts.iter().copied());
            bytes.extend_from_slice(&(fields.len() as u16).to_le_bytes());
            for field in fields {
                column::put(bytes, field);
            }
        }
        BlockBody::Delete { series: None, .. } => bytes.push(0),
        BlockBody::Delete { series: Some(series), .. } => {
            bytes.push(1);
            put_varint(bytes, series.len() as u64);
            pack::put_deltas(bytes, series.iter().map(|id| i64::from(id.0)));
        }
    }
    let len = (bytes.len() - start + TAIL) as u32;
    bytes[start + 8..start + 12].copy_from_slice(&len.to_le_bytes());
    let crc = crc32c(&bytes[start..]);
    bytes.extend_from_slice(&crc.to_le_bytes());
}

/// Reads the head of the block that these bytes begin with. Errors: `Corrupt`.
pub fn head(bytes: &[u8]) -> Result<BlockHead> {
    take_head(&mut Cursor::new(bytes, "WAL block"), bytes.len())
}

fn take_head(cursor: &mut Cursor<'_>, available: usize) -> Result<BlockHead> {
    cursor.magic(MAGIC, VERSION)?;
    let kind = cursor.u8()?;
    let reserved = cursor.u8()?;
    let head = BlockHead {
        kind,
        len: cursor.u32()?,
        region: RegionId(cursor.u64()?),
        epoch: RegionEpoch(cursor.u64()?),
        schema_version: SchemaVersion(cursor.u32()?),
        first_seq: Sequence(cursor.u64()?),
        rows: cursor.u32()?,
        time: TimeRange { start: cursor.i64()?, end: cursor.i64()? },
        tokens: cursor.u32()?,
        first_new_series: SeriesId(cursor.u32()?),
        new_series: cursor.u32()?,
    };
    if reserved != 0 || cursor.u64()? != 0 {
        return Err(cursor.bad("uses reserved bytes"));
    }
    if kind > DELETE || head.rows == 0 || (kind == DELETE && head.rows != 1) {
        return Err(cursor.bad("has a bad kind or number of rows"));
    }
    if (head.len as usize) < HEAD + TAIL || head.len as usize > available {
        return Err(cursor.bad("has a bad length"));
    }
    if head.first_seq.0.checked_add(u64::from(head.rows)).is_none()
        || head.first_new_series.0.checked_add(head.new_series).is_none()
    {
        return Err(cursor.bad("has a number that overflows"));
    }
    Ok(head)
}

/// Reads one block, which takes all the bytes. Errors: `Corrupt`.
pub fn decode(bytes: &[u8]) -> Result<Block> {
    let mut cursor = Cursor::new(bytes, "WAL block");
    let head = take_head(&mut cursor, bytes.len())?;
    if head.len as usize != bytes.len() {
        return Err(cursor.bad("has a bad length"));
    }
    let (body, tail) = bytes.split_at(bytes.len() - TAIL);
    if u32::from_le_bytes(tail.try_into().expect("split off four bytes")) != crc32c(body) {
        return Err(cursor.bad("differs from its checksum"));
    }
    let mut cursor = Cursor::new(&body[HEAD..], "WAL block");
    let tokens =
        cursor.take(head.tokens as usize * 16)?.as_chunks::<16>().0.iter().map(|token| Token(*token)).collect();
    let mut new_series = SeriesKeys::default();
    for _ in 0..head.new_series {
        let len = usize::try_from(cursor.varint()?).map_err(|_| cursor.bad("a series key is too long"))?;
        let key = cursor.take(len)?;
        if !is_valid_key(key) {
            return Err(cursor.bad("a series key is malformed"));
        }
        new_series.push(key);
    }
    let body = if head.kind == ROWS { take_rows(&mut cursor, &head)? } else { take_delete(&mut cursor, &head)? };
    cursor.end()?;
    Ok(Block {
        region: head.region,
        epoch: head.epoch,
        schema_version: head.schema_version,
        first_seq: head.first_seq,
        tokens,
        first_new_series: head.first_new_series,
        new_series,
        body,
    })
}

fn take_ids(cursor: &mut Cursor<'_>, count: usize) -> Result<Vec<u32>> {
    if pack::bytes_min(count) > cursor.left() {
        return Err(cursor.bad("ends too early"));
    }
    let mut ids = Vec::with_capacity(count);
    let mut bad = false;
    pack::take_deltas(cursor, count, |id| {
        bad |= u32::try_from(id).is_err();
        ids.push(id as u32);
    })?;
    if bad { Err(cursor.bad("a series id is out of range")) } else { Ok(ids) }
}

fn take_rows(cursor: &mut Cursor<'_>, head: &BlockHead) -> Result<BlockBody> {
    let rows = head.rows as usize;
    let series = take_ids(cursor, rows)?;
    let mut ts = Vec::with_capacity(rows);
    let mut time = TimeRange::EMPTY;
    pack::take_deltas(cursor, rows, |value| {
        time.include(value);
        ts.push(value);
    })?;
    if time != head.time {
        return Err(cursor.bad("its time range is not that of its rows"));
    }
    let count = cursor.u16()?;
    let mut fields = Vec::new();
    for _ in 0..count {
        fields.push(column::take(cursor, rows)?);
    }
    if fields.windows(2).any(|pair| pair[0].column >= pair[1].column) {
        return Err(cursor.bad("fields are not sorted by column id"));
    }
    Ok(BlockBody::Rows { series, ts, fields })
}

fn take_delete(cursor: &mut Cursor<'_>, head: &BlockHead) -> Result<BlockBody> {
    let series = match cursor.u8()? {
        0 => None,
        1 => {
            let count = usize::try_from(cursor.varint()?).map_err(|_| cursor.bad("too many series"))?;
            let ids = take_ids(cursor, count)?;
            if ids.windows(2).any(|pair| pair[0] >= pair[1]) {
                return Err(cursor.bad("deleted series are not sorted"));
            }
            Some(ids.into_iter().map(SeriesId).collect())
        }
        _ => return Err(cursor.bad("a delete's form is unknown")),
    };
    Ok(BlockBody::Delete { series, time: head.time })
}
