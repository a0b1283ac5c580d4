//! One manifest version as stored (docs/format/manifest.md).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use varve_model::id::{NodeEpoch, RegionEpoch, RegionId, Sequence, SeriesId};
use varve_model::table::{TableInfo, Ttl};

use crate::index::meta::IndexSegmentMeta;
use crate::sst::meta::{FileMeta, FileName, Tombstone};
use crate::wal::Source;

/// 128 bits as hex text.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Hash(pub u128);

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:032x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let hash = (text.len() == 32).then(|| u128::from_str_radix(&text, 16).ok()).flatten();
        hash.map(Self).ok_or_else(|| serde::de::Error::custom("not 32 hex digits"))
    }
}

/// A version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Dense from 0.
    pub version: u64,
    /// Whose.
    pub region: RegionId,
    /// The grant under which it was committed; never falls.
    pub region_epoch: RegionEpoch,
    /// The session that committed it.
    pub node_epoch: NodeEpoch,
    /// Fresh for every body.
    pub nonce: Hash,
    /// xxh3-128 of the object before; 0 in version 0.
    pub prev_hash: Hash,
    /// What it does.
    pub kind: Kind,
}

/// What a version does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A new owner begins; version 0 also creates the region.
    Claim(Box<Claim>),
    /// Files, deletes, schema or the flushed sequence change.
    Edit(Box<Edit>),
    /// The region is dropped. Nothing may follow.
    Tombstone,
    /// Reserved for migration: the owner gave the region back. Refused.
    Release(serde_json::Value),
    /// Reserved for splits. Refused.
    Split(serde_json::Value),
    /// Reserved for splits. Refused.
    SplitAborted(serde_json::Value),
}

/// What a region begins with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Create {
    /// The table; its incarnation is compared at every open.
    pub table: TableInfo,
    /// How long its rows live.
    pub ttl: Ttl,
}

/// The body of a claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// Every session that may hold unflushed rows, the claiming one included.
    pub sources: Vec<Source>,
    /// Present in version 0 only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create: Option<Create>,
    /// The table as it is now, when it changed while nobody owned the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Create>,
}

/// A remembered idempotency token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenEntry {
    /// xxh3-64 of the token.
    pub hash: u64,
    /// Wall clock second at which its rows became durable.
    pub at_s: i64,
}

/// The body of an edit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// Rows up to this one are in files or deleted; never falls.
    pub flushed_to: Sequence,
    /// Every session that may hold rows above it.
    pub sources: Vec<Source>,
    /// The id the next series gets is at least this.
    pub next_series: SeriesId,
    /// Wall clock second of the edit: tokens older than the window before it are forgotten.
    pub at_s: i64,
    /// New files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<FileMeta>,
    /// Files that are no longer part of the region.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<FileName>,
    /// New index segments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub index: Vec<IndexSegmentMeta>,
    /// New deletes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tombstones: Vec<Tombstone>,
    /// Deletes that no file needs any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tombstones_done: Vec<Tombstone>,
    /// Tokens of the flushed blocks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<TokenEntry>,
    /// The table as altered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Create>,
    /// Reserved for change feeds: consumers with the sequence up to which they have read. Refused when set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consumers: Vec<serde_json::Value>,
}
