//! JSON bodies in a checked frame: manifest versions, checkpoints, boundaries, the volume file.
//!
//! ```text
//! magic [4] | format version u16 | reserved u16 | body length u32 | crc32c u32 | body (JSON)
//! ```
//! The checksum is over the first twelve bytes and the body.

use serde::Serialize;
use serde::de::DeserializeOwned;
use varve_model::{Error, Result};

use super::checksum::crc32c;
use super::cursor::Cursor;

#[cfg(test)]
mod tests;

/// What a framed body is; the code in the magic and the name in error texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameKind {
    /// First four bytes.
    pub magic: [u8; 4],
    /// For error texts.
    pub name: &'static str,
}

/// A manifest version.
pub const MANIFEST: FrameKind = FrameKind { magic: *b"VMAN", name: "manifest version" };
/// A manifest checkpoint.
pub const CHECKPOINT: FrameKind = FrameKind { magic: *b"VCHK", name: "manifest checkpoint" };
/// A manifest boundary.
pub const BOUNDARY: FrameKind = FrameKind { magic: *b"VBND", name: "manifest boundary" };
/// The file that names a local WAL's volume.
pub const VOLUME: FrameKind = FrameKind { magic: *b"VVOL", name: "WAL volume file" };
/// A reference object.
pub const REFERENCE: FrameKind = FrameKind { magic: *b"VREF", name: "reference object" };
/// A session object.
pub const SESSION: FrameKind = FrameKind { magic: *b"VSES", name: "session object" };

const VERSION: u16 = 1;
const HEAD: usize = 16;

/// The frame with this body.
pub fn encode(kind: FrameKind, body: &impl Serialize) -> Vec<u8> {
    let body = serde_json::to_vec(body).expect("persisted bodies have string keys only, which JSON can hold");
    let mut bytes = Vec::with_capacity(HEAD + body.len());
    bytes.extend_from_slice(&kind.magic);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&0u16.to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    let crc = sum(&bytes, &body);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

/// Reads a frame. Errors: `Corrupt`; `InvalidRequest` for a whole frame that a newer varve wrote.
pub fn decode<T: DeserializeOwned>(kind: FrameKind, bytes: &[u8]) -> Result<T> {
    let mut cursor = Cursor::new(bytes, kind.name);
    let version = cursor.magic_of_any_version(kind.magic)?;
    let reserved = cursor.u16()?;
    let len = cursor.u32()? as usize;
    let crc = cursor.u32()?;
    let body = cursor.take(len)?;
    cursor.end()?;
    if crc != sum(&bytes[..12], body) {
        return Err(cursor.bad("differs from its checksum"));
    }
    if version != VERSION {
        return Err(newer(kind, &format!("has format version {version}, this varve reads {VERSION}")));
    }
    if reserved != 0 {
        return Err(newer(kind, "uses reserved bytes"));
    }
    serde_json::from_slice(body).map_err(|error| {
        // The checksum holds: these are the words of who wrote it.
        if error.is_data() {
            newer(kind, &error.to_string())
        } else {
            Error::corrupt(format!("{}: {error}", kind.name))
        }
    })
}

/// Not damage: another version of varve reads it.
fn newer(kind: FrameKind, why: &str) -> Error {
    Error::unsupported(format!("{}: {why}: a newer varve wrote it", kind.name))
}

fn sum(head: &[u8], body: &[u8]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(head);
    digest.update(body);
    let sum = digest.finalize() as u32;
    debug_assert!(!body.is_empty() || sum == crc32c(head));
    sum
}
