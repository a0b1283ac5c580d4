//! Asks a store whether it keeps what the engine's safety rests on, before a node trusts it.
//!
//! Some stores take If-None-Match and ignore it, others honour it only one
//! request at a time. On such a store two owners would both commit, so it is
//! refused at start and not found out later.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future, stream};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, PutResult};
use varve_model::{Error, ErrorKind, Result, ResultExt};
use varve_service::clock::SharedClock;

use super::create::{ATTEMPT, with_retry};

#[cfg(test)]
mod tests;

/// Creates that race for one name.
const RACERS: u8 = 8;
/// Races that are run: a store that loses one in a few is found.
const RACES: u8 = 4;
/// Attempts at one step before the store counts as away.
const ATTEMPTS: usize = 5;

/// What a store can do beside what it must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether several objects can be deleted with one request; otherwise the store must be opened without that.
    pub bulk_delete: bool,
}

/// Checks a store. Writes below `probe/` and deletes that again.
/// Errors: `InvalidRequest` = the store must not be used, and why; `PermissionDenied` = it refuses these
/// credentials, and what they lack; `Unavailable` = it does not answer.
pub async fn probe(store: &dyn ObjectStore, clock: &SharedClock) -> Result<Capabilities> {
    let probe = Probe { store, clock, folder: super::path::probe(clock.random()) };
    probe.run().await.context(|| "check the object store")
}

struct Probe<'a> {
    store: &'a dyn ObjectStore,
    clock: &'a SharedClock,
    folder: Path,
}

/// The answer to a create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Created,
    Exists,
    Unclear,
}

fn refused(what: &str) -> Error {
    Error::unsupported(format!("the object store cannot be used: {what}"))
        .with_hint("varve needs a store with conditional creation (PUT with If-None-Match: *) and strong consistency")
}

/// What credentials need, in S3's words, for one of a datanode's doings.
#[derive(Clone, Copy, Debug)]
enum Need {
    Put,
    Get,
    List,
    Delete,
}

impl Need {
    fn action(self) -> &'static str {
        match self {
            Self::Put => "s3:PutObject",
            Self::Get => "s3:GetObject",
            Self::List => "s3:ListBucket",
            Self::Delete => "s3:DeleteObject",
        }
    }

    /// The error of an answer that refuses the credentials; none of any other answer.
    fn denied(self, answer: &StoreError) -> Option<Error> {
        let what = match answer {
            StoreError::PermissionDenied { .. } => "permission denied",
            StoreError::Unauthenticated { .. } => "unknown credentials",
            // Of several objects that are deleted at once, each is refused by itself, in the text only.
            other if other.to_string().contains("AccessDenied") => "permission denied",
            _ => return None,
        };
        let text = format!("the bucket refuses {} to these credentials ({what}): {answer}", self.action());
        let hint = "grant them s3:GetObject, s3:PutObject and s3:DeleteObject on the bucket's objects and s3:ListBucket \
                    on the bucket; a wrong key or secret is refused in the same way";
        Some(Error::new(ErrorKind::PermissionDenied, text).with_hint(hint))
    }
}

fn answer(put: object_store::Result<PutResult>) -> Answer {
    match put {
        Ok(_) => Answer::Created,
        Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => Answer::Exists,
        Err(_) => Answer::Unclear,
    }
}

impl Probe<'_> {
    async fn run(&self) -> Result<Capabilities> {
        let first = self.second_create().await?;
        let mut paths = vec![first];
        for race in 0..RACES {
            paths.push(self.race(race).await?);
        }
        self.listing(&paths).await?;
        self.ranges(&paths[0]).await?;
        self.deletion(paths).await
    }

    fn path(&self, name: &str) -> Path {
        self.folder.clone().join(name)
    }

    async fn create(&self, path: &Path, body: &Bytes) -> object_store::Result<PutResult> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        tokio::select! {
            biased;
            put = self.store.put_opts(path, PutPayload::from(body.clone()), options) => put,
            () = self.clock.sleep(ATTEMPT) => Err(StoreError::Generic { store: "probe", source: "no answer".into() }),
        }
    }

    async fn get(&self, path: &Path) -> Result<Bytes> {
        self.read(Need::Get, path, || async { self.store.get(path).await?.bytes().await }).await
    }

    /// Reads, again until there is an answer. Credentials that are refused are not tried again here: they change
    /// elsewhere, if at all. Errors: those of [`with_retry`]; `PermissionDenied`.
    async fn read<T, F>(&self, need: Need, path: &Path, mut read: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let asked = with_retry(self.clock, path, || {
            let asked = read();
            async move {
                match asked.await {
                    Err(error) => match need.denied(&error) {
                        Some(denied) => Ok(Err(denied)),
                        None => Err(error),
                    },
                    found => found.map(Ok),
                }
            }
        });
        asked.await?
    }

    /// A second create of a name must be refused and change nothing.
    async fn second_create(&self) -> Result<Path> {
        let path = self.path("a");
        let (body, other) = (Bytes::from_static(b"first body"), Bytes::from_static(b"second body"));
        let mut last = None;
        for _ in 0..ATTEMPTS {
            match self.create(&path, &body).await {
                Ok(_) | Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {
                    last = None;
                    break;
                }
                Err(StoreError::NotImplemented { .. }) => {
                    return Err(refused("it does not offer conditional creation"));
                }
                Err(error) => match Need::Put.denied(&error) {
                    Some(denied) => return Err(denied),
                    None => last = Some(error),
                },
            }
            self.clock.sleep(ATTEMPT / 4).await;
        }
        if let Some(error) = last {
            return Err(Error::unavailable(format!("the object store does not take a small object: {error}")));
        }
        match answer(self.create(&path, &other).await) {
            Answer::Created => return Err(refused("it created an object that existed already")),
            Answer::Exists | Answer::Unclear => {}
        }
        if self.get(&path).await? != body {
            return Err(refused("a create that it refused changed the object"));
        }
        Ok(path)
    }

    /// Of several creates at once, one may win, and its bytes must be there.
    async fn race(&self, race: u8) -> Result<Path> {
        let path = self.path(&format!("b{race}"));
        let bodies = (0..RACERS).map(|racer| Bytes::from(vec![racer; 64])).collect::<Vec<_>>();
        let answers = future::join_all(bodies.iter().map(|body| self.create(&path, body))).await;
        let answers = answers.into_iter().map(answer).collect::<Vec<_>>();
        let winners = (0..answers.len()).filter(|at| answers[*at] == Answer::Created).collect::<Vec<_>>();
        if winners.len() > 1 {
            return Err(refused(&format!("{} of {RACERS} racing creates of one object succeeded", winners.len())));
        }
        if winners.is_empty() && !answers.contains(&Answer::Unclear) {
            return Err(refused("all racing creates of one object were told that it exists"));
        }
        let body = self.get(&path).await?;
        if winners.first().is_some_and(|winner| bodies[*winner] != body) {
            return Err(refused("a racing create that lost replaced the bytes of the one that won"));
        }
        Ok(path)
    }

    /// New objects must be listed at once, in whole and behind a name.
    async fn listing(&self, paths: &[Path]) -> Result<()> {
        let folder = self.folder.clone();
        let list = |after: Option<&Path>| {
            let listing = match after {
                None => self.store.list(Some(&folder)),
                Some(after) => self.store.list_with_offset(Some(&folder), after),
            };
            listing.map_ok(|meta| meta.location).try_collect::<Vec<_>>()
        };
        let mut all = self.read(Need::List, &folder, || list(None)).await?;
        all.sort_unstable();
        if all != paths {
            return Err(refused("objects that were just created are not listed"));
        }
        let mut behind = self.read(Need::List, &folder, || list(Some(&paths[0]))).await?;
        behind.sort_unstable();
        if behind != paths[1..] {
            return Err(refused("listing behind a name gives other objects than listing all"));
        }
        Ok(())
    }

    async fn ranges(&self, path: &Path) -> Result<()> {
        let part = self.read(Need::Get, path, || self.store.get_range(path, 2..7)).await?;
        if part == b"rst b"[..] { Ok(()) } else { Err(refused("a part of an object is not what was asked for")) }
    }

    /// Deletes what the probe wrote: several at once if the store can, else one by one.
    async fn deletion(&self, paths: Vec<Path>) -> Result<Capabilities> {
        let all = stream::iter(paths.clone()).map(Ok).boxed();
        let deleted = self.store.delete_stream(all).try_collect::<Vec<_>>().await;
        if let Some(denied) = deleted.as_ref().err().and_then(|error| Need::Delete.denied(error)) {
            return Err(denied);
        }
        let bulk_delete = deleted.is_ok();
        let left = self.left(&paths).await?;
        if bulk_delete && !left.is_empty() {
            return Err(refused("objects that were deleted can still be read"));
        }
        Ok(Capabilities { bulk_delete })
    }

    async fn left(&self, paths: &[Path]) -> Result<Vec<Path>> {
        let mut left = Vec::new();
        for path in paths {
            match self.read(Need::Get, path, || self.store.head(path)).await {
                Ok(_) => left.push(path.clone()),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(left)
    }
}
