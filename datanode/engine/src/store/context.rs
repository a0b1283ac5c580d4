//! What reading and writing one region's files needs.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use varve_model::budget::Account;
use varve_model::id::{RegionEpoch, RegionId};
use varve_model::{Error, Result};
use varve_service::clock::SharedClock;
use varve_service::task::TaskSet;

use super::create;
use super::path::{FileName, RegionPaths};
use crate::format::checksum::crc32c;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct FileContext {
    /// The bucket.
    pub store: Arc<dyn ObjectStore>,
    /// Whose files.
    pub region: RegionId,
    /// Names below the region's prefix.
    pub paths: Arc<RegionPaths>,
    /// Time and randomness.
    pub clock: SharedClock,
    /// Where heavy work runs.
    pub tasks: TaskSet,
    /// The account that buffers of background work are charged to.
    pub account: Account,
    /// The grant under which files are written.
    pub region_epoch: RegionEpoch,
}

impl FileContext {
    /// A fresh name for a new file.
    pub fn fresh_name(&self) -> FileName {
        FileName::new(self.region_epoch, self.clock.random())
    }

    /// Creates an object under a name that nobody else uses; retries lost replies.
    /// Returns size and CRC-32C of the body. Errors: `Unavailable`, `Corrupt` when the name holds other bytes.
    pub async fn upload(&self, path: &Path, body: Bytes) -> Result<(u64, u32)> {
        let (bytes, crc) = (body.len() as u64, crc32c(&body));
        create::create_fresh(&*self.store, &self.clock, path, body).await?;
        Ok((bytes, crc))
    }

    /// Reads a whole object and checks size and CRC-32C. Errors: `Corrupt`, `Unavailable`.
    pub async fn download(&self, path: &Path, bytes: u64, crc: u32) -> Result<Bytes> {
        let body = create::with_retry_of(&self.clock, path, bytes, || async {
            let result = self.store.get(path).await?;
            result.bytes().await
        })
        .await?;
        if body.len() as u64 != bytes || crc32c(&body) != crc {
            return Err(Error::corrupt(format!("object {path} differs from its checksum in the manifest")));
        }
        Ok(body)
    }

    /// Reads a range of an object. Errors: `Corrupt` when it is gone or short, `Unavailable`.
    pub async fn read_range(&self, path: &Path, range: Range<u64>) -> Result<Bytes> {
        let want = range.end - range.start;
        let body = create::with_retry_of(&self.clock, path, want, || async {
            match self.store.get_range(path, range.clone()).await {
                // A store refuses a range beyond the end like any bad request: a cut object is damage, not an outage.
                Err(error) => match self.store.head(path).await {
                    Ok(meta) if meta.size < range.end => Ok(Bytes::new()),
                    _ => Err(error),
                },
                body => body,
            }
        })
        .await?;
        if body.len() as u64 != want {
            return Err(Error::corrupt(format!("object {path} is shorter than the manifest says")));
        }
        Ok(body)
    }
}
