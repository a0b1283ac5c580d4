//! A local folder as bucket: what it lists and what it created is on the disk, not only in the page cache.

use std::fmt;
use std::io::{self, Write};
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
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use varve_model::Error;
use varve_service::task::TaskSet;

#[cfg(test)]
mod tests;

/// A folder on a local disk.
///
/// A create is: write and sync a staged file, link it under its name, sync the
/// folder. Other writes are not offered: nothing in the engine overwrites.
#[derive(Debug)]
pub struct FolderStore {
    root: Arc<PathBuf>,
    files: LocalFileSystem,
    tasks: TaskSet,
    on_sync_error: OnSyncError,
}

/// Called when a sync fails; does not return in a real process.
pub type OnSyncError = fn(&std::path::Path, &io::Error);

/// Ends the process: after a failed sync the page cache shows bytes that the disk does not have, and a read-back
/// would confirm them.
pub fn abort(path: &std::path::Path, error: &io::Error) {
    tracing::error!(path = %path.display(), %error, "a sync of the data folder failed: the process aborts");
    std::process::abort();
}

/// Opens a folder, creating it. Errors: `Unavailable`.
pub fn open_folder(
    root: PathBuf,
    tasks: TaskSet,
    on_sync_error: OnSyncError,
) -> varve_model::Result<Arc<dyn ObjectStore>> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::unavailable(format!("cannot use the data folder {}: {error}", root.display()))
    };
    create_durable(&root).map_err(|error| failed(error.into()))?;
    let files = LocalFileSystem::new_with_prefix(&root).map_err(|error| failed(error.into()))?.with_fsync(true);
    Ok(Arc::new(FolderStore { root: Arc::new(root), files, tasks, on_sync_error }))
}

/// Creates folders and syncs the parent of each created one.
fn create_durable(path: &std::path::Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
    create_durable(parent)?;
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    std::fs::File::open(parent)?.sync_all()
}

/// Creates `path` with these bytes, durably, unless it exists.
fn create(path: &std::path::Path, payload: &PutPayload, on_sync_error: OnSyncError) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    create_durable(folder)?;
    // LocalFileSystem does not list names that end in '#' and digits.
    let staged = path.with_file_name(format!(
        "{}#{}",
        path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?,
        uuid::Uuid::new_v4().as_u64_pair().0
    ));
    let written = (|| {
        let mut file = std::fs::File::create_new(&staged)?;
        payload.iter().try_for_each(|bytes| file.write_all(bytes))?;
        file.sync_all().inspect_err(|error| on_sync_error(path, error))?;
        std::fs::hard_link(&staged, path)?;
        std::fs::File::open(folder)?.sync_all().inspect_err(|error| on_sync_error(path, error))
    })();
    // What a crash leaves behind under this name is never read.
    let _ = std::fs::remove_file(&staged);
    written
}

fn failed(error: io::Error) -> StoreError {
    StoreError::Generic { store: "folder", source: error.into() }
}

fn not_offered(operation: &str) -> StoreError {
    StoreError::NotImplemented { operation: operation.to_owned(), implementer: "folder".to_owned() }
}

impl fmt::Display for FolderStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "folder {}", self.root.display())
    }
}

#[async_trait]
impl ObjectStore for FolderStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if options.mode != PutMode::Create {
            return Err(not_offered("a put that overwrites"));
        }
        let (path, on_sync_error) = (self.root.join(location.as_ref()), self.on_sync_error);
        let created = self.tasks.blocking("create a file", move || create(&path, &payload, on_sync_error)).await;
        match created.map_err(|error| failed(io::Error::other(error)))? {
            Ok(()) => Ok(PutResult { e_tag: None, version: None, extensions: object_store::Extensions::default() }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(StoreError::AlreadyExists { path: location.to_string(), source: error.into() })
            }
            Err(error) => Err(failed(error)),
        }
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(not_offered("a put in parts"))
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

    /// Syncs the folder first: a create whose process died before its last sync shows in the listing, and must
    /// still be there after a power cut if somebody acts on it.
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let folder = prefix.map_or_else(|| self.root.to_path_buf(), |prefix| self.root.join(prefix.as_ref()));
        let (tasks, on_sync_error) = (self.tasks.clone(), self.on_sync_error);
        let listing = self.files.list(prefix);
        let synced = async move {
            let sync = move || match std::fs::File::open(&folder) {
                Ok(file) => file.sync_all().inspect_err(|error| on_sync_error(&folder, error)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
            };
            let synced = tasks.blocking("sync a folder", sync).await;
            match synced.map_err(io::Error::other).and_then(|synced| synced) {
                Ok(()) => listing,
                Err(error) => futures::stream::iter([Err(failed(error))]).boxed(),
            }
        };
        futures::stream::once(synced).flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(not_offered("a copy"))
    }
}
