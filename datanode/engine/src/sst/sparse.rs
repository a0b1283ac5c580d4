//! Some ranges of a file in memory, for Parquet's decoder: reading outside them is an error, never a fetch.
//!
//! The decoder panics on some damage. Checksums stop that before it decodes;
//! should one ever pass them, [`guarded`] makes it an error like any other.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::buf::Reader;
use bytes::{Buf, Bytes};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

/// Checked ranges of one file.
#[derive(Clone, Debug)]
pub(super) struct Sparse {
    /// Size of the whole file.
    pub(super) len: u64,
    /// First byte and bytes, ascending.
    pub(super) parts: Vec<(u64, Bytes)>,
}

impl Sparse {
    fn part(&self, start: u64) -> Result<Bytes> {
        let at = self.parts.partition_point(|part| part.0 <= start);
        at.checked_sub(1)
            .map(|at| &self.parts[at])
            .and_then(|(first, bytes)| {
                let skip = (start - first) as usize;
                (skip <= bytes.len()).then(|| bytes.slice(skip..))
            })
            .ok_or_else(|| ParquetError::EOF(format!("byte {start} was not fetched")))
    }
}

impl Length for Sparse {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for Sparse {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(self.part(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let part = self.part(start)?;
        if part.len() < length {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} were not fetched")));
        }
        Ok(part.slice(..length))
    }
}

/// Runs the decoder; a panic inside is damage. What it worked on must be dropped after an error.
pub(super) fn guarded<T>(decode: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| Err(ParquetError::General("the decoder gave up".into())))
}
