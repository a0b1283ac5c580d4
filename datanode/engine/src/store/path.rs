//! Names of objects, exactly as docs/format/names.md has them: its tables are read by the tests.
//!
//! Epochs are in every name, so that two owners never write the same key; hex
//! is of fixed width, so that LIST order is numeric order.

use std::fmt;
use std::str::FromStr;

use object_store::path::Path;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use varve_model::id::{NodeEpoch, RegionEpoch, RegionId};
use varve_model::{Error, Result};
use xxhash_rust::xxh3::xxh3_64;

#[cfg(test)]
mod tests;

/// Stem of a file's objects: `{region_epoch:016x}-{uuid}`. Fresh for every file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName {
    /// The grant under which it was written.
    pub epoch: RegionEpoch,
    /// Fresh random bits.
    pub uuid: Uuid,
}

impl FileName {
    /// A fresh name from 128 random bits.
    pub fn new(epoch: RegionEpoch, random: u128) -> Self {
        Self { epoch, uuid: uuid::Builder::from_random_bytes(random.to_be_bytes()).into_uuid() }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.uuid)
    }
}

impl FromStr for FileName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::corrupt(format!("'{text}' is not a file name"));
        let (epoch, uuid) = text.split_once('-').ok_or_else(bad)?;
        let name = Self {
            epoch: RegionEpoch(u64::from_str_radix(epoch, 16).map_err(|_| bad())?),
            uuid: Uuid::parse_str(uuid).map_err(|_| bad())?,
        };
        // One spelling only: the name is compared as text in listings.
        if name.to_string() == text { Ok(name) } else { Err(bad()) }
    }
}

impl Serialize for FileName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FileName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Longest name of a referrer.
const REFERRER_BYTES_MAX: usize = 128;

/// Who refers to files of a region that is not its own: lower-case letters, digits and hyphens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Referrer(String);

impl Referrer {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Referrer {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !text.is_empty() && text.len() <= REFERRER_BYTES_MAX && text.bytes().all(is_plain) {
            Ok(Self(text))
        } else {
            Err(Error::invalid(format!("'{text}' cannot name a referrer")))
        }
    }
}

impl From<Referrer> for String {
    fn from(referrer: Referrer) -> Self {
        referrer.0
    }
}

/// The names below one region's prefix `r/{hash2}/{region_id}/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionPaths {
    prefix: String,
}

impl RegionPaths {
    /// The names of this region. `hash2` is the low byte of xxh3-64 over the id's
    /// big-endian bytes, in hex: it spreads the prefixes of an object store.
    pub fn new(region: RegionId) -> Self {
        let hash = xxh3_64(&region.0.to_be_bytes()) as u8;
        Self { prefix: format!("r/{hash:02x}/{:016x}", region.0) }
    }

    /// The prefix itself, without a slash at its end.
    pub fn prefix(&self) -> Path {
        Path::from(self.prefix.as_str())
    }

    /// Folder of manifest versions.
    pub fn manifests(&self) -> Path {
        Path::from(format!("{}/m", self.prefix))
    }

    /// A manifest version.
    pub fn manifest(&self, version: u64) -> Path {
        Path::from(format!("{}/m/{version:016x}", self.prefix))
    }

    /// Folder of checkpoints.
    pub fn checkpoints(&self) -> Path {
        Path::from(format!("{}/c", self.prefix))
    }

    /// The checkpoint at a version.
    pub fn checkpoint(&self, version: u64) -> Path {
        Path::from(format!("{}/c/{version:016x}", self.prefix))
    }

    /// Folder of boundaries.
    pub fn boundaries(&self) -> Path {
        Path::from(format!("{}/b", self.prefix))
    }

    /// The boundary at a version.
    pub fn boundary(&self, version: u64) -> Path {
        Path::from(format!("{}/b/{version:016x}", self.prefix))
    }

    /// Folder of data files and sidecars.
    pub fn files(&self) -> Path {
        Path::from(format!("{}/d", self.prefix))
    }

    /// A data file.
    pub fn data(&self, name: FileName) -> Path {
        Path::from(format!("{}/d/{name}.parquet", self.prefix))
    }

    /// The sidecar of a data file (Parquet inside, too).
    pub fn sidecar(&self, name: FileName) -> Path {
        Path::from(format!("{}/d/{name}.idx", self.prefix))
    }

    /// Folder of index segments.
    pub fn indexes(&self) -> Path {
        Path::from(format!("{}/i", self.prefix))
    }

    /// A series index segment.
    pub fn index(&self, name: FileName) -> Path {
        Path::from(format!("{}/i/{name}.idx", self.prefix))
    }

    /// Folder of references to the region's files.
    pub fn references(&self) -> Path {
        Path::from(format!("{}/ref", self.prefix))
    }

    /// What a referrer needs of the region.
    pub fn reference(&self, referrer: &Referrer) -> Path {
        Path::from(format!("{}/ref/{}", self.prefix, referrer.0))
    }
}

/// The session object of a datanode's lifetime.
pub fn session(node: NodeEpoch) -> Path {
    Path::from(format!("wal/{node}/session"))
}

/// Folder of a WAL lane.
pub fn wal_lane(node: NodeEpoch, lane: u8) -> Path {
    Path::from(format!("wal/{node}/{lane:02x}"))
}

/// A slot of a WAL lane.
pub fn wal_object(node: NodeEpoch, lane: u8, seq: u64) -> Path {
    Path::from(format!("wal/{node}/{lane:02x}/{seq:016x}.wal"))
}

/// Folder of the objects that one check of the bucket writes and deletes again.
pub fn probe(random: u128) -> Path {
    Path::from(format!("probe/{random:032x}"))
}

/// The file of a listed data file, sidecar or index segment; `None` for a name that is not ours.
pub fn file_of(path: &Path) -> Option<FileName> {
    path.filename()?.split_once('.')?.0.parse().ok()
}

/// The number at the end of a listed name; `None` for a name that is not ours.
pub fn number_of(path: &Path) -> Option<u64> {
    let name = path.filename()?;
    if name.len() == 16 { u64::from_str_radix(name, 16).ok() } else { None }
}
