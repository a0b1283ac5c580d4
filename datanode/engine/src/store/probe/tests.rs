use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::{CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutMultipartOptions};
use varve_model::{ErrorKind, Reason};
use varve_service::clock::ManualClock;

use super::*;

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    /// Creates overwrite.
    IgnoresCondition,
    /// Says that the object exists, and overwrites it.
    OverwritesQuietly,
    /// Looks first and writes later.
    LosesRaces,
    /// Lists what was there a while ago.
    StaleList,
    WrongRange,
    NoBulkDelete,
    /// Says so and does not.
    ForgetsDeletes,
    DeniesPut,
    DeniesGet,
    DeniesList,
    DeniesDelete,
    /// Knows the credentials not at all.
    KnowsNobody,
}

impl Flaw {
    /// The answer to what `denying` does not allow.
    fn denies(self, denying: Self) -> Option<StoreError> {
        let (path, source) = ("probe".to_owned(), "403".into());
        match self {
            Self::KnowsNobody => Some(StoreError::Unauthenticated { path, source }),
            flaw if flaw == denying => Some(StoreError::PermissionDenied { path, source }),
            _ => None,
        }
    }
}

#[derive(Debug)]
struct Flawed(InMemory, Flaw);

impl fmt::Display for Flawed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.1)
    }
}

#[async_trait]
impl ObjectStore for Flawed {
    async fn put_opts(&self, at: &Path, body: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        if let Some(denied) = self.1.denies(Flaw::DeniesPut) {
            return Err(denied);
        }
        match self.1 {
            Flaw::IgnoresCondition => self.0.put(at, body).await,
            Flaw::OverwritesQuietly => {
                let created = self.0.put_opts(at, body.clone(), options).await;
                if created.is_err() {
                    self.0.put(at, body).await?;
                }
                created
            }
            Flaw::LosesRaces if self.0.head(at).await.is_err() => {
                tokio::task::yield_now().await;
                self.0.put(at, body).await
            }
            _ => self.0.put_opts(at, body, options).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, mut options: GetOptions) -> object_store::Result<GetResult> {
        if let Some(denied) = self.1.denies(Flaw::DeniesGet) {
            return Err(denied);
        }
        if self.1 == Flaw::WrongRange {
            options.range = options.range.map(|_| (Range { start: 0, end: 5 }).into());
        }
        self.0.get_opts(at, options).await
    }

    fn delete_stream(
        &self,
        at: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        match self.1 {
            Flaw::ForgetsDeletes => at,
            Flaw::DeniesDelete => stream::iter(self.1.denies(Flaw::DeniesDelete).map(Err)).boxed(),
            Flaw::NoBulkDelete => {
                let error = StoreError::NotImplemented { operation: "bulk".to_owned(), implementer: "test".to_owned() };
                stream::iter([Err(error)]).boxed()
            }
            _ => self.0.delete_stream(at),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        match self.1 {
            Flaw::StaleList => self.0.list(prefix).skip(1).boxed(),
            Flaw::DeniesList => stream::iter(self.1.denies(Flaw::DeniesList).map(Err)).boxed(),
            _ => self.0.list(prefix),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

async fn check(flaw: Flaw) -> (Result<Capabilities>, usize) {
    let clock: SharedClock = Arc::new(ManualClock::new(1, 0));
    let store = Flawed(InMemory::new(), flaw);
    let checked = probe(&store, &clock).await;
    (checked, store.0.list(None).count().await)
}

#[tokio::test(start_paused = true)]
async fn a_sound_store_passes_and_nothing_is_left_in_it() {
    assert_eq!(check(Flaw::None).await.0.unwrap(), Capabilities { bulk_delete: true });
    assert_eq!(check(Flaw::None).await.1, 0);
}

#[tokio::test(start_paused = true)]
async fn a_store_without_bulk_delete_is_told_apart() {
    assert_eq!(check(Flaw::NoBulkDelete).await.0.unwrap(), Capabilities { bulk_delete: false });
}

#[tokio::test(start_paused = true)]
async fn a_store_that_breaks_a_rule_is_refused_with_its_name() {
    for (flaw, text) in [
        (Flaw::IgnoresCondition, "existed already"),
        (Flaw::OverwritesQuietly, "changed the object"),
        (Flaw::LosesRaces, "racing creates of one object succeeded"),
        (Flaw::StaleList, "not listed"),
        (Flaw::WrongRange, "a part of an object"),
        (Flaw::ForgetsDeletes, "can still be read"),
    ] {
        let error = check(flaw).await.0.unwrap_err();
        assert_eq!((error.kind(), error.reason()), (ErrorKind::InvalidRequest, Reason::Unsupported), "{flaw:?}");
        assert!(error.to_string().contains(text) && error.hint().is_some(), "{flaw:?}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_that_are_refused_are_told_what_they_lack() {
    for (flaw, action) in [
        (Flaw::DeniesPut, "s3:PutObject"),
        (Flaw::DeniesGet, "s3:GetObject"),
        (Flaw::DeniesList, "s3:ListBucket"),
        (Flaw::DeniesDelete, "s3:DeleteObject"),
        (Flaw::KnowsNobody, "s3:PutObject"),
    ] {
        let error = check(flaw).await.0.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{flaw:?}");
        assert!(error.to_string().contains(&format!("the bucket refuses {action}")), "{flaw:?}: {error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("grant") && hint.contains(action)), "{flaw:?}");
    }
}
