//! One machine's way to the bucket, below its faults: it is watched, and a scenario may hold one listing on it.
//!
//! A held listing is how a scenario makes a race happen without luck: what came
//! back is as old as the scenario wants.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::watch::Watch;

/// The way of one datanode's machine.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    objects: Arc<InMemory>,
    machine: u64,
    watch: Arc<Watch>,
    held: Arc<Mutex<Option<Held>>>,
}

/// When a listing is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// Before it is made.
    Start,
    /// With what it found.
    End,
}

#[derive(Debug)]
struct Held {
    folder: Path,
    at: At,
    reached: oneshot::Sender<()>,
    released: oneshot::Receiver<()>,
}

/// The other side of a listing that is held.
#[derive(Debug)]
pub(crate) struct Hold {
    /// Resolves when the listing is held.
    pub(crate) reached: oneshot::Receiver<()>,
    /// Lets it go on; so does its drop.
    pub(crate) release: oneshot::Sender<()>,
}

impl Way {
    pub(crate) fn new(objects: Arc<InMemory>, machine: u64, watch: Arc<Watch>) -> Self {
        Self { objects, machine, watch, held: Arc::default() }
    }

    /// Holds the next listing of a folder.
    pub(crate) fn hold(&self, folder: Path, at: At) -> Hold {
        let (reached, told) = oneshot::channel();
        let (release, released) = oneshot::channel();
        *self.held.lock() = Some(Held { folder, at, reached, released });
        Hold { reached: told, release }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the bucket, from machine {}", self.machine)
    }
}

#[async_trait]
impl ObjectStore for Way {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let body = payload.iter().flat_map(|part| part.iter().copied()).collect::<Vec<_>>();
        let put = self.objects.put_opts(location, payload, options).await?;
        self.watch.created(self.machine, location, &body).await;
        Ok(put)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.objects.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (watch, machine) = (Arc::clone(&self.watch), self.machine);
        let watched = locations.then(move |location| {
            let watch = Arc::clone(&watch);
            async move {
                if let Ok(location) = &location {
                    watch.deleting(machine, location).await;
                }
                location
            }
        });
        self.objects.delete_stream(watched.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let held = self.held.lock().take_if(|held| prefix == Some(&held.folder));
        let Some(Held { at, reached, released, .. }) = held else {
            return self.objects.list(prefix);
        };
        let (objects, prefix) = (Arc::clone(&self.objects), prefix.cloned());
        let listing = async move {
            let listed = match at {
                At::Start => None,
                At::End => Some(objects.list(prefix.as_ref()).collect::<Vec<_>>().await),
            };
            // Whoever armed it may have given up.
            let _ = reached.send(());
            let _ = released.await;
            match listed {
                Some(listed) => futures::stream::iter(listed).boxed(),
                None => objects.list(prefix.as_ref()),
            }
        };
        futures::stream::once(listing).flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}
