//! The one way an object is created: `create_verified`, and its form for fresh names.
//!
//! A create that timed out may have happened, and a create that met an existing
//! object may have met its own earlier attempt. So every body carries a nonce,
//! is frozen at its first send, and only reading it back tells.

use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use varve_model::{Error, ErrorKind, Result};
use varve_service::clock::SharedClock;

#[cfg(test)]
mod tests;

/// Longest time spent on one create or read before its outcome is reported as unknown.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// Longest time of one attempt at something small.
pub const ATTEMPT: Duration = Duration::from_secs(3);
/// Slowest transfer that an attempt waits for, in bytes per second: a large body has longer than a small one.
const BYTES_PER_SECOND_MIN: u64 = 1 << 20;
/// Smallest and largest pause between attempts.
pub const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// What became of a create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// The slot holds our body.
    Created,
    /// The slot holds another body: these bytes.
    Occupied(Bytes),
}

/// Creates `path` with `body`, which must differ from every other body ever sent to any slot (a nonce inside).
///
/// `read_back` = true reads the object back after success too (control objects).
/// Errors: `Unavailable` = unknown: the slot stays bound to this body and must not get another one.
pub async fn create_verified(
    store: &dyn ObjectStore,
    clock: &SharedClock,
    path: &Path,
    body: &Bytes,
    check: ReadBack,
) -> Result<Created> {
    let (start, limit) = (clock.boot(), attempt_of(body.len() as u64));
    let mut attempt = 0;
    loop {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = timed(clock, limit, store.put_opts(path, PutPayload::from(body.clone()), options)).await;
        if matches!(put, Some(Ok(_))) && check == ReadBack::OnDoubt {
            return Ok(Created::Created);
        }
        // A plain read decides: our body, another one, or (still) nothing.
        let found = timed(clock, limit, async { store.get(path).await?.bytes().await }).await;
        match found {
            Some(Ok(found)) if found == *body => return Ok(Created::Created),
            Some(Ok(found)) => return Ok(Created::Occupied(found)),
            Some(Err(_)) | None => {}
        }
        attempt += 1;
        pause(clock, attempt, start, path, put.and_then(Result::err).as_ref()).await?;
    }
}

/// When an object is read back after its creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadBack {
    /// After anything but a plain success: data.
    OnDoubt,
    /// Always: control objects.
    Always,
}

/// Creates an object under a fresh name. Errors: `Unavailable`; `Corrupt` when other bytes are there.
pub async fn create_fresh(store: &dyn ObjectStore, clock: &SharedClock, path: &Path, body: Bytes) -> Result<()> {
    match create_verified(store, clock, path, &body, ReadBack::OnDoubt).await? {
        Created::Created => Ok(()),
        Created::Occupied(_) => {
            Err(Error::corrupt(format!("object {path} exists with other bytes: its name was fresh")))
        }
    }
}

/// Repeats a read until it succeeds, finds nothing, or the deadline passes.
/// Errors: `NotFound`, `Unavailable`.
pub async fn with_retry<T, F>(clock: &SharedClock, path: &Path, read: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = object_store::Result<T>>,
{
    with_retry_of(clock, path, 0, read).await
}

/// As [`with_retry`], for a read of about so many bytes.
pub async fn with_retry_of<T, F>(clock: &SharedClock, path: &Path, bytes: u64, mut read: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = object_store::Result<T>>,
{
    let (start, limit) = (clock.boot(), attempt_of(bytes));
    let mut attempt = 0;
    loop {
        let error = match timed(clock, limit, read()).await {
            Some(Ok(value)) => return Ok(value),
            Some(Err(error @ StoreError::NotFound { .. })) => {
                return Err(Error::not_found(format!("object {path} does not exist")).with_source(error));
            }
            Some(Err(error)) => Some(error),
            None => None,
        };
        attempt += 1;
        pause(clock, attempt, start, path, error.as_ref()).await?;
    }
}

fn attempt_of(bytes: u64) -> Duration {
    ATTEMPT + Duration::from_secs(bytes / BYTES_PER_SECOND_MIN)
}

/// `None` when the attempt took too long.
async fn timed<T>(clock: &SharedClock, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let limit = clock.sleep(limit);
    tokio::select! {
        biased;
        done = work => Some(done),
        () = limit => None,
    }
}

/// Waits before the next attempt: full jitter, doubling. Errors: the deadline passed.
async fn pause(
    clock: &SharedClock,
    attempt: u32,
    start: Duration,
    path: &Path,
    last: Option<&StoreError>,
) -> Result<()> {
    let spent = clock.boot().saturating_sub(start);
    if spent >= DEADLINE {
        let last = last.map_or_else(|| "timeout".to_owned(), ToString::to_string);
        return Err(Error::new(ErrorKind::Unavailable, format!("object store: no answer about {path}: {last}")));
    }
    let ceiling = BACKOFF.0.saturating_mul(1 << attempt.min(10)).min(BACKOFF.1);
    let span = (ceiling.saturating_sub(BACKOFF.0).as_micros() as u64).max(1);
    let jitter = Duration::from_micros(clock.random() as u64 % span);
    clock.sleep(BACKOFF.0 + jitter).await;
    Ok(())
}
