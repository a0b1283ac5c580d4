//! CRC-32C (Castagnoli): the checksum of everything we persist but Parquet pages.

use crc_fast::{CrcAlgorithm, checksum};

/// CRC-32C of the bytes.
pub fn crc32c(bytes: &[u8]) -> u32 {
    checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}
