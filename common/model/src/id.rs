//! Every id is a newtype from one list, so that two kinds never mix.

use std::fmt;

pub mod process;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($inner:ty) $fmt:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $fmt, self.0)
            }
        }
    )*};
}

ids! {
    /// A database; never reused.
    DatabaseId(u32) "{}";
    /// A table; never reused.
    TableId(u32) "{}";
    /// A column of a table; never reused within the table, the Parquet `field_id`.
    ColumnId(u32) "{}";
    /// A series of a region: dense, given by the region's owner, never reused.
    SeriesId(u32) "{}";
    /// A configured node of the cluster.
    NodeId(u64) "{}";
    /// One lifetime of a datanode process; unique in the cluster, never reused.
    NodeEpoch(u64) "{:016x}";
    /// One ownership grant of a region; +1 at every grant.
    RegionEpoch(u64) "{:016x}";
    /// A row of a region: rows are counted without gaps from 1; 0 is "before the first".
    Sequence(u64) "{}";
    /// A version of a table's schema; +1 at every change.
    SchemaVersion(u32) "{}";
    /// A frontend process among those that live; given by metasrv, used again when its holder is gone.
    FrontendId(u32) "{}";
    /// A client's connection, or its request on a wire without connections; see [`process`].
    ProcessId(u32) "{}";
}

macro_rules! wide_ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u128);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        // As 32 hex digits: JSON readers other than ours round integers of this size.
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                let valid = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                let bits = valid.then(|| u128::from_str_radix(&text, 16).ok()).flatten();
                bits.map(Self).ok_or_else(|| serde::de::Error::custom(format_args!("'{text}' is not 32 hex digits")))
            }
        }
    )*};
}

wide_ids! {
    /// 128 random bits that tell one life of a table from another of the same id.
    Incarnation;
    /// 128 random bits, fresh for every object body that is created.
    Nonce;
    /// 128 random bits that name a cluster.
    ClusterId;
    /// 128 random bits that name a local WAL directory.
    VolumeId;
}

/// A region: one partition of a table.
///
/// ```text
///  63            32 31             0
/// +----------------+----------------+
/// |    table id    | region number  |
/// +----------------+----------------+
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct RegionId(pub u64);

impl RegionId {
    /// The region with this number within the table.
    pub fn new(table: TableId, number: u32) -> Self {
        Self(u64::from(table.0) << 32 | u64::from(number))
    }

    /// The table it belongs to.
    pub fn table(self) -> TableId {
        TableId((self.0 >> 32) as u32)
    }

    /// Its number within the table.
    pub fn number(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Display for RegionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.table(), self.number())
    }
}

/// The idempotency token of one chunk of a request: 12 bytes of key, 4 bytes of chunk number.
///
/// The key is a hash of the client's `Idempotency-Key` with user, database and
/// body, or random when a frontend makes it for its own retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub [u8; 16]);

impl Token {
    /// Joins a request key (its low 96 bits) and the chunk's number.
    pub fn new(key: u128, chunk: u32) -> Self {
        let mut bytes = [0; 16];
        bytes[..12].copy_from_slice(&key.to_le_bytes()[..12]);
        bytes[12..].copy_from_slice(&chunk.to_le_bytes());
        Self(bytes)
    }
}
