//! Model types <-> messages, one file per family. A message from the wire is never trusted.

use serde::Serialize;
use serde::de::DeserializeOwned;
use varve_model::{Error, Result};

pub(crate) mod batch;
pub(crate) mod call;
pub(crate) mod catalog;
pub(crate) mod describe;
pub(crate) mod heartbeat;
pub(crate) mod procedure;
pub(crate) mod relay;
#[cfg(test)]
mod tests;
pub(crate) mod write;

/// The error for a message that lacks a part.
pub(crate) fn missing(what: &str) -> Error {
    Error::invalid(format!("message: {what} is missing or unknown"))
}

/// A value in its metadata encoding. Errors: `InvalidRequest` for what JSON cannot hold.
pub(crate) fn to_json<T: Serialize>(what: &str, value: &T) -> Result<bytes::Bytes> {
    let bytes = serde_json::to_vec(value).map_err(|error| Error::invalid(format!("message: {what}: {error}")))?;
    Ok(bytes.into())
}

/// A value from its metadata encoding. Errors: `InvalidRequest`.
pub(crate) fn from_json<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::invalid(format!("message: {what}: {error}")))
}

/// A 128-bit number; empty means none.
pub(crate) fn to_u128(what: &str, bytes: &[u8]) -> Result<Option<u128>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let bytes = bytes.try_into().map_err(|_| missing(what))?;
    Ok(Some(u128::from_le_bytes(bytes)))
}

/// The bytes of a 128-bit number.
pub(crate) fn from_u128(number: u128) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(&number.to_le_bytes())
}
