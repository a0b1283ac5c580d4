//! Bytes of a WAL object and of a SEAL, version 1 (docs/format/wal-object.md).
//!
//! The footer comes last so that blocks can be read by region, and the header
//! first so that a few bytes tell a SEAL from data.

use varve_model::id::{NodeEpoch, Nonce};
use varve_model::{Error, Result};

use super::checksum::crc32c;
use super::cursor::Cursor;
use super::segment::{IndexEntry, decode_footer, encode_footer};

#[cfg(test)]
mod tests;

const MAGIC: [u8; 4] = *b"VWAL";
const END: [u8; 4] = *b"VEND";
const VERSION: u16 = 1;
const DATA: u8 = 1;
const SEAL: u8 = 2;
/// Bytes of the header.
pub const HEADER: usize = 80;
/// Bytes of the trailer.
pub const TRAILER: usize = 24;

/// What a slot of a lane holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// Blocks.
    Data,
    /// The end of the lane, put there by this session.
    Seal {
        /// Who sealed.
        sealer: NodeEpoch,
    },
}

/// The header of an object: all that a create needs to tell its own body from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectHeader {
    /// Data or SEAL.
    pub kind: ObjectKind,
    /// The session whose lane it is.
    pub session: NodeEpoch,
    /// The lane.
    pub lane: u8,
    /// The slot; dense from 0.
    pub seq: u64,
    /// Fresh for every body.
    pub nonce: Nonce,
    /// xxh3-128 of the lane's object before; 0 in slot 0 and in a SEAL.
    pub previous: u128,
}

impl ObjectHeader {
    fn encode(&self, bytes: &mut Vec<u8>) {
        let (kind, sealer) = match self.kind {
            ObjectKind::Data => (DATA, NodeEpoch(0)),
            ObjectKind::Seal { sealer } => (SEAL, sealer),
        };
        let start = bytes.len();
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.push(kind);
        bytes.push(self.lane);
        bytes.extend_from_slice(&self.session.0.to_le_bytes());
        bytes.extend_from_slice(&self.seq.to_le_bytes());
        bytes.extend_from_slice(&self.nonce.0.to_le_bytes());
        bytes.extend_from_slice(&self.previous.to_le_bytes());
        bytes.extend_from_slice(&sealer.0.to_le_bytes());
        bytes.extend_from_slice(&[0; 12]);
        let crc = crc32c(&bytes[start..]);
        bytes.extend_from_slice(&crc.to_le_bytes());
        debug_assert_eq!(bytes.len() - start, HEADER);
    }

    /// Reads the header that the bytes begin with. Errors: `Corrupt`.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut cursor = Cursor::new(bytes, "WAL object");
        let head = cursor.take(HEADER)?;
        let mut cursor = Cursor::new(head, "WAL object");
        cursor.magic(MAGIC, VERSION)?;
        let kind = cursor.u8()?;
        let lane = cursor.u8()?;
        let (session, seq) = (NodeEpoch(cursor.u64()?), cursor.u64()?);
        let (nonce, previous, sealer) = (Nonce(cursor.u128()?), cursor.u128()?, NodeEpoch(cursor.u64()?));
        let reserved = cursor.take(12)?;
        if cursor.u32()? != crc32c(&head[..HEADER - 4]) {
            return Err(cursor.bad("header differs from its checksum"));
        }
        let kind = match (kind, sealer) {
            (DATA, NodeEpoch(0)) => ObjectKind::Data,
            (SEAL, sealer) => ObjectKind::Seal { sealer },
            _ => return Err(cursor.bad("has an unknown kind")),
        };
        if reserved.iter().any(|byte| *byte != 0) {
            return Err(cursor.bad("uses reserved bytes"));
        }
        Ok(Self { kind, session, lane, seq, nonce, previous })
    }
}

/// A whole object: header, blocks one after another, footer, trailer.
/// `entries` name the blocks with offsets from the start of `blocks`.
pub fn encode(header: &ObjectHeader, blocks: &[u8], entries: &[IndexEntry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + blocks.len() + entries.len() * 80 + TRAILER);
    header.encode(&mut bytes);
    bytes.extend_from_slice(blocks);
    let footer = bytes.len() as u64;
    let moved = entries.iter().map(|entry| IndexEntry { offset: entry.offset + HEADER as u64, ..*entry });
    bytes.extend_from_slice(&encode_footer(&moved.collect::<Vec<_>>()));
    let footer_len = bytes.len() as u64 - footer;
    bytes.extend_from_slice(&footer.to_le_bytes());
    bytes.extend_from_slice(&(footer_len as u32).to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    let crc = crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(&END);
    bytes
}

/// Header and index of a whole object; every byte is checked. Errors: `Corrupt`.
pub fn decode(bytes: &[u8]) -> Result<(ObjectHeader, Vec<IndexEntry>)> {
    let header = ObjectHeader::decode(bytes)?;
    let bad = |why: &str| Error::corrupt(format!("WAL object: {why}"));
    let end = bytes.len().checked_sub(TRAILER).filter(|end| *end >= HEADER).ok_or_else(|| bad("ends too early"))?;
    let mut trailer = Cursor::new(&bytes[end..], "WAL object");
    let (footer, footer_len) = (trailer.u64()?, trailer.u32()?);
    let reserved = trailer.u32()?;
    let crc = trailer.u32()?;
    if trailer.take(4)? != END || reserved != 0 {
        return Err(bad("has no end"));
    }
    if crc != crc32c(&bytes[..end + 16]) {
        return Err(bad("differs from its checksum"));
    }
    let start = usize::try_from(footer).map_err(|_| bad("has a bad footer"))?;
    if start < HEADER || start.checked_add(footer_len as usize) != Some(end) {
        return Err(bad("has a bad footer"));
    }
    let entries = decode_footer(&bytes[start..end])?;
    let inside = |entry: &IndexEntry| {
        entry.offset >= HEADER as u64
            && entry.offset.checked_add(u64::from(entry.len)).is_some_and(|block_end| block_end <= footer)
    };
    if !entries.iter().all(inside) {
        return Err(bad("names a block outside itself"));
    }
    if matches!(header.kind, ObjectKind::Seal { .. }) && (start != HEADER || !entries.is_empty()) {
        return Err(bad("is a SEAL with blocks"));
    }
    Ok((header, entries))
}
