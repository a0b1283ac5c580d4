//! Checked reads of little-endian bytes: stored bytes never panic and never make us allocate more than they hold.

use varve_model::{Error, Result};

/// A position in bytes that are not trusted.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    /// What is read, for error texts.
    what: &'static str,
}

impl<'a> Cursor<'a> {
    /// Reads from the start.
    pub fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { bytes, what }
    }

    /// The error for bytes that make no sense.
    pub fn bad(&self, why: &str) -> Error {
        Error::corrupt(format!("{}: {why}", self.what))
    }

    /// Bytes left.
    pub fn left(&self) -> usize {
        self.bytes.len()
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        if len > self.bytes.len() {
            return Err(self.bad("ends too early"));
        }
        let (taken, rest) = self.bytes.split_at(len);
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("take returns as many bytes as asked for"))
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Eight bytes, signed.
    pub fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// Sixteen bytes.
    pub fn u128(&mut self) -> Result<u128> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    /// An unsigned LEB128 of at most ten bytes.
    pub fn varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.u8()?;
            if shift == 63 && byte > 1 {
                return Err(self.bad("a number is too large"));
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.bad("a number is too long"))
    }

    /// A zigzag LEB128.
    pub fn zigzag(&mut self) -> Result<i64> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Checks the magic and the format version that follows it. Errors: `Corrupt`, also for an unknown version.
    pub fn magic(&mut self, magic: [u8; 4], version: u16) -> Result<()> {
        let found = self.magic_of_any_version(magic)?;
        if found == version {
            Ok(())
        } else {
            Err(self.bad(&format!("has format version {found}, this varve reads {version}")))
        }
    }

    /// Checks the magic; returns the format version that follows it. Errors: `Corrupt`.
    pub fn magic_of_any_version(&mut self, magic: [u8; 4]) -> Result<u16> {
        if self.array::<4>()? == magic { self.u16() } else { Err(self.bad("has another magic")) }
    }

    /// Checks that everything was read.
    pub fn end(&self) -> Result<()> {
        if self.bytes.is_empty() { Ok(()) } else { Err(self.bad("has bytes behind its end")) }
    }
}

/// Appends an unsigned LEB128.
pub fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Appends a zigzag LEB128.
pub fn put_zigzag(bytes: &mut Vec<u8>, value: i64) {
    put_varint(bytes, (value << 1 ^ value >> 63) as u64);
}
