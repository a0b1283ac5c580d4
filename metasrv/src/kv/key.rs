//! Every record of the store: its key, its value, and the envelope around the value.
//!
//! A key is text, `<kind>/<path>`; numbers in it are fixed-width hex, so that
//! key order is number order. A value is JSON that people can read with etcdctl,
//! in an envelope that tells version, kind and checksum:
//!
//! ```json
//! {"v":1,"kind":"counter","crc":1234567890,"data":{"next":7}}
//! ```
//!
//! `crc` is crc32c over the key, one zero byte and the exact bytes of `data`, so
//! that a value under a wrong key is found too. The normative page is
//! docs/format/metadata.md; a kind is one file here.

use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use varve_model::{Error, Result};

mod cluster;
mod counter;
mod database;
mod leader;
mod procedure;
mod reserved;
mod route;
mod session;
mod table;
#[cfg(test)]
mod tests;

pub use cluster::{ClusterKey, ClusterRecord};
pub use counter::{CounterKey, CounterRecord};
pub use database::{DatabaseKey, DatabaseNameKey, DatabaseNameRecord, DatabaseRecord};
pub use leader::{LeaderKey, LeaderRecord};
pub use procedure::{ProcedureKey, ProcedureRecord, Work};
pub use reserved::RESERVED_KINDS;
pub use route::{RouteKey, RouteRecord};
pub use session::{SessionKey, SessionRecord, SessionState};
pub use table::{TableKey, TableNameKey, TableNameRecord, TableRecord};

/// Version of the envelope and of every record in it.
pub const VERSION: u32 = 1;

/// The key of one kind of record.
pub trait Key: Clone + Debug + Send + Sync + Sized {
    /// Stable id of the kind: first part of the key, and named in the envelope.
    const KIND: &'static str;

    /// What is stored under it.
    type Record: Serialize + DeserializeOwned + Debug + Send + Sync;

    /// The part after `<kind>/`.
    fn path(&self) -> String;

    /// Reads what [`Self::path`] wrote.
    fn parse(path: &str) -> Option<Self>;

    /// The whole key.
    fn text(&self) -> String {
        format!("{}/{}", Self::KIND, self.path())
    }
}

/// The kind's prefix, under which all its keys lie.
pub fn prefix<K: Key>() -> String {
    format!("{}/", K::KIND)
}

/// The key, if the text is one of this kind. Errors: `Corrupt` when it is of this kind and malformed.
pub fn parse<K: Key>(text: &str) -> Result<Option<K>> {
    let Some(path) = text.strip_prefix(K::KIND).and_then(|rest| rest.strip_prefix('/')) else { return Ok(None) };
    let key = K::parse(path).ok_or_else(|| Error::corrupt(format!("metadata key '{text}' is malformed")))?;
    Ok(Some(key))
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    v: u32,
    kind: &'a str,
    crc: u32,
    #[serde(borrow)]
    data: &'a RawValue,
}

fn checksum(key: &str, data: &str) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(key.as_bytes());
    digest.update(&[0]);
    digest.update(data.as_bytes());
    digest.finalize() as u32
}

/// The bytes of a record. Errors: `Internal` for a value that JSON cannot hold.
pub fn encode<K: Key>(key: &K, record: &K::Record) -> Result<Vec<u8>> {
    let text = key.text();
    let failed = |error: serde_json::Error| Error::internal(format!("encode metadata record '{text}': {error}"));
    let data = serde_json::value::to_raw_value(record).map_err(failed)?;
    let crc = checksum(&text, data.get());
    serde_json::to_vec(&Envelope { v: VERSION, kind: K::KIND, crc, data: &data }).map_err(failed)
}

/// Reads the bytes of a record. Errors: `Corrupt`.
pub fn decode<K: Key>(key: &K, bytes: &[u8]) -> Result<K::Record> {
    let text = key.text();
    let damaged = |what: String| Error::corrupt(format!("metadata record '{text}': {what}"));
    let envelope: Envelope<'_> = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
    if envelope.v != VERSION {
        return Err(damaged(format!("format version {}, this varve knows {VERSION}", envelope.v)));
    }
    if envelope.kind != K::KIND {
        return Err(damaged(format!("it holds a '{}'", envelope.kind)));
    }
    if envelope.crc != checksum(&text, envelope.data.get()) {
        return Err(damaged("checksum mismatch".to_owned()));
    }
    serde_json::from_str(envelope.data.get()).map_err(|error| damaged(error.to_string()))
}

/// Fixed-width hex of a key part.
fn hex(text: &str, digits: usize) -> Option<u64> {
    let canonical = text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    canonical.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}
