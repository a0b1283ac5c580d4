//! A batch as an object's bytes, and a stored block as a block again.
//!
//! A block is stored as it is, or as a zstd frame that holds it when that is
//! smaller by an eighth; the magic at its start tells which. Per block and not
//! per object, so that a region's next owner reads its own ranges only.

use std::io::Read;

use bytes::Bytes;
use varve_model::{Error, Result, ResultExt};
use xxhash_rust::xxh3::xxh3_128;

use crate::format::block::{self, Block};
use crate::format::object::{self, HEADER, ObjectHeader};
use crate::format::segment::IndexEntry;

/// First bytes of a zstd frame (RFC 8878).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Smallest block worth a try.
const ZSTD_BYTES_MIN: usize = 512;
/// Largest block that is unpacked; a write is far smaller.
const BLOCK_BYTES_MAX: u64 = 1 << 30;

/// An object ready to be created.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) bytes: Bytes,
    /// What the next object names as its predecessor.
    pub(super) hash: u128,
    /// The blocks, offsets from the object's start.
    pub(super) entries: Vec<IndexEntry>,
}

/// Hash of an object's bytes, as the next one in the lane names it.
pub(super) fn hash(bytes: &[u8]) -> u128 {
    xxh3_128(bytes)
}

/// Makes an object of blocks. Heavy. Errors: `Corrupt` = a block that was never encoded.
pub(super) fn encode(header: &ObjectHeader, blocks: &[Vec<u8>]) -> Result<Body> {
    let mut stored = Vec::with_capacity(blocks.iter().map(Vec::len).sum());
    let mut entries = Vec::with_capacity(blocks.len());
    for bytes in blocks {
        let head = block::head(bytes)?;
        let tail = bytes.last_chunk::<4>().expect("a block with a head has a tail");
        let offset = stored.len() as u64;
        match packed(bytes) {
            Some(frame) => stored.extend_from_slice(&frame),
            None => stored.extend_from_slice(bytes),
        }
        let len = (stored.len() as u64 - offset) as u32;
        entries.push(IndexEntry { len, ..IndexEntry::of(&head, offset, u32::from_le_bytes(*tail)) });
    }
    let bytes = object::encode(header, &stored, &entries);
    for entry in &mut entries {
        entry.offset += HEADER as u64;
    }
    Ok(Body { hash: hash(&bytes), bytes: Bytes::from(bytes), entries })
}

fn packed(block: &[u8]) -> Option<Vec<u8>> {
    if block.len() < ZSTD_BYTES_MIN {
        return None;
    }
    let frame = zstd::bulk::compress(block, 1).ok()?;
    (frame.len() <= block.len() - block.len() / 8).then_some(frame)
}

/// The block that an entry names, from its stored bytes. Errors: `Corrupt`.
pub(super) fn decode(stored: &[u8], entry: &IndexEntry) -> Result<Block> {
    let unpacked;
    let bytes = if stored.starts_with(&ZSTD_MAGIC) {
        unpacked = unpack(stored)?;
        &unpacked
    } else {
        stored
    };
    let block = block::decode(bytes)?;
    if (block.region, block.epoch, block.first_seq, block.rows())
        != (entry.region, entry.epoch, entry.first_seq, u64::from(entry.rows))
    {
        return Err(Error::corrupt("it is not the block that the footer names"));
    }
    Ok(block)
}

fn unpack(frame: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let unpacked = zstd::stream::read::Decoder::new(frame).and_then(|decoder| {
        // Read and not sized by the frame's own word: what grows is what is really there.
        decoder.take(BLOCK_BYTES_MAX).read_to_end(&mut bytes)
    });
    match unpacked {
        Ok(_) => Ok(bytes),
        Err(error) => Err(Error::corrupt(format!("zstd: {error}"))).context(|| "unpack a block"),
    }
}
