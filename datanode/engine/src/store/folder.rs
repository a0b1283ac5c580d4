//! A local folder as bucket: what it lists and what it created is on the disk, not only in the page cache.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error as StoreError, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use varve_model::{Error, ResultExt};

#[cfg(test)]
mod tests;

/// A folder on a local disk.
///
/// Files and their folders are synced before a create is confirmed. A create
/// whose last sync failed leaves its file: so each listing syncs the folder
/// first, and what is listed will still be there after a power cut.
#[derive(Debug)]
pub struct FolderStore {
    root: Arc<PathBuf>,
    files: LocalFileSystem,
}

/// Opens a folder, creating it. Errors: `Unavailable`.
pub fn open_folder(root: PathBuf) -> varve_model::Result<Arc<dyn ObjectStore>> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::unavailable(format!("cannot use the data folder {}: {error}", root.display()))
    };
    create_durable(&root).map_err(|error| failed(error.into())).context(|| "create the data folder")?;
    let files = LocalFileSystem::new_with_prefix(&root).map_err(|error| failed(error.into()))?.with_fsync(true);
    Ok(Arc::new(FolderStore { root: Arc::new(root), files }))
}

/// Creates folders and syncs the parent of each created one.
fn create_durable(path: &std::path::Path) -> std::io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
    create_durable(parent)?;
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    std::fs::File::open(parent)?.sync_all()
}

impl FolderStore {
    /// Makes the folder of an object exist durably, so that syncing the folder itself is enough later.
    fn prepare(&self, location: &Path) -> Result<()> {
        let file = self.root.join(location.as_ref());
        let folder = file.parent().unwrap_or(&self.root);
        create_durable(folder).map_err(io)
    }
}

fn io(error: std::io::Error) -> StoreError {
    StoreError::Generic { store: "folder", source: error.into() }
}

impl fmt::Display for FolderStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "folder {}", self.root.display())
    }
}

#[async_trait]
impl ObjectStore for FolderStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.prepare(location)?;
        self.files.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.prepare(location)?;
        self.files.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.files.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.files.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let folder = prefix.map_or_else(|| self.root.to_path_buf(), |prefix| self.root.join(prefix.as_ref()));
        let synced = match std::fs::File::open(&folder) {
            Ok(folder) => folder.sync_all(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        match synced {
            Ok(()) => self.files.list(prefix),
            Err(error) => futures::stream::iter([Err(io(error))]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.prepare(to)?;
        self.files.copy_opts(from, to, options).await
    }
}
