//! A store for tests, in which something happens in the middle of a listing.

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use std::sync::Arc;

/// The first listing of a folder is overtaken after so many names.
pub(crate) struct Overtaken {
    inner: Arc<dyn ObjectStore>,
    folder: Path,
    after: usize,
    what: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl Overtaken {
    pub(crate) fn new(
        inner: Arc<dyn ObjectStore>,
        folder: Path,
        after: usize,
        what: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        Self { inner, folder, after, what: Mutex::new(Some(what.boxed())) }
    }
}

impl std::fmt::Debug for Overtaken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("overtaken")
    }
}

impl std::fmt::Display for Overtaken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("overtaken")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Overtaken {
    async fn put_opts(&self, at: &Path, body: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(at, body, options).await
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(at, options).await
    }

    fn delete_stream(&self, at: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(at)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let what = if prefix == Some(&self.folder) { self.what.lock().take() } else { None };
        let Some(what) = what else { return self.inner.list(prefix) };
        let (inner, prefix, after) = (Arc::clone(&self.inner), prefix.cloned(), self.after);
        let pages = async move {
            let mut first = inner.list(prefix.as_ref()).collect::<Vec<_>>().await;
            what.await;
            let is_torn = first.len() > after;
            first.truncate(after);
            let rest = match first.last() {
                _ if !is_torn => stream::empty().boxed(),
                None => inner.list(prefix.as_ref()),
                Some(last) => inner.list_with_offset(prefix.as_ref(), &last.as_ref().unwrap().location),
            };
            stream::iter(first).chain(rest)
        };
        stream::once(pages).flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
