//! Bytes of a local WAL segment, version 1 (docs/format/local-segment.md).
//!
//! A segment is a header, then records. A record is one commit group under one
//! checksum, chained to the record before; the last record of a closed segment
//! is its footer, an index of blocks per region.

use varve_model::Result;
use varve_model::id::{NodeEpoch, RegionEpoch, RegionId, Sequence, VolumeId};
use varve_model::time::TimeRange;

use super::block::BlockHead;
use super::cursor::Cursor;

#[cfg(test)]
mod tests;

const MAGIC: [u8; 4] = *b"VSEG";
const VERSION: u16 = 1;
/// Bytes of a segment's header.
pub const HEADER: usize = 64;
/// Bytes of a record's header.
pub const RECORD: usize = 32;
const FOOTER_ENTRY: usize = 72;

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The session that wrote it.
    pub session: NodeEpoch,
    /// Segment stream; 0 until a process has several.
    pub lane: u8,
    /// Number of the segment in its stream, dense from 0.
    pub seq: u64,
    /// The volume it was written on.
    pub volume: VolumeId,
    /// Number of the first record.
    pub first_record: u64,
    /// Checksum of the record before the first; 0 in a stream's first segment.
    pub previous_crc: u32,
}

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// Blocks of one commit group.
    Group,
    /// The index of the segment.
    Footer,
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Bytes of the body.
    pub len: u32,
    /// Over the rest of the header and the body.
    pub crc32c: u32,
    /// What the body is.
    pub kind: RecordKind,
    /// The session.
    pub session: NodeEpoch,
    /// Number of the record in its stream, dense from 0.
    pub record: u64,
    /// Checksum of the record before.
    pub previous_crc: u32,
}

/// One block in the footer of a segment or WAL object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Whose rows.
    pub region: RegionId,
    /// The grant.
    pub epoch: RegionEpoch,
    /// Where the block begins, in bytes from the start of file or object.
    pub offset: u64,
    /// Bytes of the block.
    pub len: u32,
    /// Number of its first row.
    pub first_seq: Sequence,
    /// Sequence numbers taken.
    pub rows: u32,
    /// Smallest and largest timestamp.
    pub time: TimeRange,
    /// Series defined in it.
    pub new_series: u32,
    /// The block's checksum (its last four bytes).
    pub crc32c: u32,
}

impl IndexEntry {
    /// The entry of a block at an offset.
    pub fn of(head: &BlockHead, offset: u64, crc32c: u32) -> Self {
        Self {
            region: head.region,
            epoch: head.epoch,
            offset,
            len: head.len,
            first_seq: head.first_seq,
            rows: head.rows,
            time: head.time,
            new_series: head.new_series,
            crc32c,
        }
    }

    /// Number of its last row.
    pub fn last_seq(&self) -> Sequence {
        Sequence(self.first_seq.0 + u64::from(self.rows) - 1)
    }
}

impl SegmentHeader {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.push(self.lane);
        bytes.push(0);
        bytes.extend_from_slice(&self.session.0.to_le_bytes());
        bytes.extend_from_slice(&self.seq.to_le_bytes());
        bytes.extend_from_slice(&self.volume.0.to_le_bytes());
        bytes.extend_from_slice(&self.first_record.to_le_bytes());
        bytes.extend_from_slice(&self.previous_crc.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        let crc = super::checksum::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.try_into().expect("the fields above sum to the header's size")
    }

    /// Reads a header. Errors: `Corrupt`.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut cursor = Cursor::new(bytes, "WAL segment");
        let head = cursor.take(HEADER)?;
        let mut cursor = Cursor::new(head, "WAL segment");
        cursor.magic(MAGIC, VERSION)?;
        let lane = cursor.u8()?;
        let mut reserved = u64::from(cursor.u8()?);
        let header = Self {
            lane,
            session: NodeEpoch(cursor.u64()?),
            seq: cursor.u64()?,
            volume: VolumeId(cursor.u128()?),
            first_record: cursor.u64()?,
            previous_crc: cursor.u32()?,
        };
        reserved |= cursor.u64()?;
        if cursor.u32()? != super::checksum::crc32c(&head[..HEADER - 4]) {
            return Err(cursor.bad("header differs from its checksum"));
        }
        if reserved != 0 {
            return Err(cursor.bad("uses reserved bytes"));
        }
        Ok(header)
    }
}

/// Writes the header of the record whose body is already behind [`RECORD`] bytes of space; returns the checksum.
pub fn seal_record(bytes: &mut [u8], kind: RecordKind, session: NodeEpoch, record: u64, previous_crc: u32) -> u32 {
    let len = (bytes.len() - RECORD) as u32;
    bytes[0..4].copy_from_slice(&len.to_le_bytes());
    bytes[8..12].copy_from_slice(&previous_crc.to_le_bytes());
    bytes[12] = match kind {
        RecordKind::Group => 1,
        RecordKind::Footer => 2,
    };
    bytes[13..16].fill(0);
    bytes[16..24].copy_from_slice(&session.0.to_le_bytes());
    bytes[24..32].copy_from_slice(&record.to_le_bytes());
    let crc = record_crc(bytes);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    crc
}

fn record_crc(bytes: &[u8]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(&bytes[..4]);
    digest.update(&bytes[8..]);
    digest.finalize() as u32
}

/// Reads the record that the bytes begin with, checksum included. Errors: `Corrupt`.
pub fn take_record(bytes: &[u8]) -> Result<(RecordHeader, &[u8])> {
    let mut cursor = Cursor::new(bytes, "WAL record");
    let len = cursor.u32()?;
    let crc32c = cursor.u32()?;
    let previous_crc = cursor.u32()?;
    let kind = match cursor.u8()? {
        1 => RecordKind::Group,
        2 => RecordKind::Footer,
        _ => return Err(cursor.bad("has an unknown kind")),
    };
    if cursor.take(3)? != [0; 3] {
        return Err(cursor.bad("uses reserved bytes"));
    }
    let session = NodeEpoch(cursor.u64()?);
    let record = cursor.u64()?;
    let body = cursor.take(len as usize)?;
    if len == 0 || crc32c != record_crc(&bytes[..RECORD + len as usize]) {
        return Err(cursor.bad("differs from its checksum"));
    }
    Ok((RecordHeader { len, crc32c, kind, session, record, previous_crc }, body))
}

/// The body of a footer record.
pub fn encode_footer(entries: &[IndexEntry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + entries.len() * FOOTER_ENTRY);
    bytes.extend_from_slice(&(entries.len() as u32).to_le_bytes());
    for entry in entries {
        bytes.extend_from_slice(&entry.region.0.to_le_bytes());
        bytes.extend_from_slice(&entry.epoch.0.to_le_bytes());
        bytes.extend_from_slice(&entry.offset.to_le_bytes());
        bytes.extend_from_slice(&entry.len.to_le_bytes());
        bytes.extend_from_slice(&entry.rows.to_le_bytes());
        bytes.extend_from_slice(&entry.first_seq.0.to_le_bytes());
        bytes.extend_from_slice(&entry.time.start.to_le_bytes());
        bytes.extend_from_slice(&entry.time.end.to_le_bytes());
        bytes.extend_from_slice(&entry.new_series.to_le_bytes());
        bytes.extend_from_slice(&entry.crc32c.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
    }
    bytes
}

/// Reads the body of a footer record. Errors: `Corrupt`.
pub fn decode_footer(bytes: &[u8]) -> Result<Vec<IndexEntry>> {
    let mut cursor = Cursor::new(bytes, "WAL footer");
    let count = cursor.u32()? as usize;
    if cursor.left() != count * FOOTER_ENTRY {
        return Err(cursor.bad("has another length than its entries"));
    }
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let (region, epoch, offset) = (RegionId(cursor.u64()?), RegionEpoch(cursor.u64()?), cursor.u64()?);
        let (len, rows, first_seq) = (cursor.u32()?, cursor.u32()?, Sequence(cursor.u64()?));
        let time = TimeRange { start: cursor.i64()?, end: cursor.i64()? };
        let (new_series, crc32c) = (cursor.u32()?, cursor.u32()?);
        if cursor.u64()? != 0 || rows == 0 || first_seq.0.checked_add(u64::from(rows)).is_none() {
            return Err(cursor.bad("has a bad entry"));
        }
        entries.push(IndexEntry { region, epoch, offset, len, first_seq, rows, time, new_series, crc32c });
    }
    Ok(entries)
}

/// Bytes of the trailer, the last of a closed segment.
pub const TRAILER: usize = 16;
const TRAILER_MAGIC: [u8; 4] = *b"VEND";

/// The trailer: where the footer record begins.
pub fn encode_trailer(footer: u64) -> [u8; TRAILER] {
    let mut bytes = [0; TRAILER];
    bytes[..8].copy_from_slice(&footer.to_le_bytes());
    bytes[12..].copy_from_slice(&TRAILER_MAGIC);
    let crc = trailer_crc(&bytes);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn trailer_crc(bytes: &[u8]) -> u32 {
    super::checksum::crc32c(&[&bytes[..8], &bytes[12..]].concat())
}

/// Where the footer record begins; `None` when these last bytes are no trailer: the segment was not closed.
pub fn decode_trailer(bytes: &[u8]) -> Option<u64> {
    let tail = bytes.last_chunk::<TRAILER>()?;
    let stated = u32::from_le_bytes(tail[8..12].try_into().expect("four bytes"));
    (tail[12..] == TRAILER_MAGIC && stated == trailer_crc(tail))
        .then(|| u64::from_le_bytes(tail[..8].try_into().expect("eight bytes")))
}
