//! The file that names a volume: which disk this is, whose cluster, which sessions lived here.
//!
//! A manifest may name a session as a source of unflushed rows; only the volume
//! can tell "nothing left of it" from "it wrote to another disk".

use serde::{Deserialize, Serialize};
use varve_model::id::{ClusterId, NodeEpoch, VolumeId};
use varve_model::{Error, Result};

use super::disk::Disk;
use super::{io_error, is_missing};
use crate::format::framed::{self, VOLUME};

#[cfg(test)]
mod tests;

/// Name of the file.
pub(super) const NAME: &str = "volume";
const NAME_NEW: &str = "volume.new";

/// The file's body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Volume {
    /// 128 random bits.
    #[serde(rename = "volume")]
    pub(super) id: VolumeId,
    /// The cluster that uses it; a volume serves one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cluster: Option<ClusterId>,
    /// Sessions that lived here, ascending.
    pub(super) sessions: Vec<NodeEpoch>,
}

impl Volume {
    /// Reads the file, or names a fresh folder. Errors: `Corrupt`, `Unavailable`.
    pub(super) fn open(disk: &Disk, random: u128, has_segments: bool) -> Result<Self> {
        match disk.read(NAME, 0, u64::MAX) {
            Ok(bytes) => framed::decode(VOLUME, &bytes),
            Err(error) if is_missing(&error) && has_segments => {
                Err(Error::corrupt(format!("the write-ahead log in {} has segments but no volume file", disk.place())))
            }
            Err(error) if is_missing(&error) => Ok(Self { id: VolumeId(random), cluster: None, sessions: Vec::new() }),
            Err(error) => Err(io_error("read the volume file", error)),
        }
    }

    /// Replaces the file, durably.
    pub(super) fn store(&self, disk: &Disk) -> Result<()> {
        let bytes = framed::encode(VOLUME, self);
        let write = || {
            let file = disk.create(NAME_NEW, 0)?;
            file.write_at(0, &bytes)?;
            file.sync()?;
            disk.rename(NAME_NEW, NAME)?;
            disk.sync_folder()
        };
        write().map_err(|error| io_error("write the volume file", error))
    }
}
