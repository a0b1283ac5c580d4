//! A bucket that misbehaves as a seed decides: for simulation and tests.
//!
//! Errors before the effect, errors after it (a lost reply) and effects long
//! after the error are the three ways in which a create can mislead its caller.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error as StoreError, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use varve_service::clock::SharedClock;
use varve_service::task::TaskSet;

/// How often each fault happens, in thousandths of the operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultRates {
    /// The operation fails and does nothing.
    pub error_before: u32,
    /// The operation works and its reply is lost.
    pub error_after: u32,
    /// The write or deletion fails now and happens later.
    pub late_effect: u32,
    /// The write is told that the object exists, though nothing was written (a store's 409).
    pub conflict: u32,
    /// Longest delay of an operation.
    pub latency_max: Duration,
    /// Longest delay of a late effect.
    pub late_max: Duration,
}

/// Operations so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the operations' names")]
pub struct OperationCounts {
    pub put: u64,
    pub get: u64,
    pub list: u64,
    pub delete: u64,
    pub faults: u64,
}

/// A store with faults. Late effects run on the task set of the *bucket*, not of a node: they outlive the caller.
#[derive(Clone, Debug)]
pub struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    state: Arc<Mutex<State>>,
    clock: SharedClock,
    tasks: TaskSet,
}

#[derive(Debug, Default)]
struct State {
    rates: FaultRates,
    counts: OperationCounts,
    /// Fates of the next writes, before the rates count.
    script: VecDeque<Fate>,
}

/// What happens to one operation. For reads everything but `Fine` is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It works.
    Fine,
    /// It fails and does nothing.
    ErrorBefore,
    /// It works and its reply is lost.
    ErrorAfter,
    /// It fails now and happens later.
    Late,
    /// It is told that the object exists; nothing was written.
    Conflict,
}

impl FaultStore {
    /// A store without faults yet. Its randomness is the clock's.
    pub fn new(inner: Arc<dyn ObjectStore>, clock: SharedClock, tasks: TaskSet) -> Self {
        Self { inner, state: Arc::default(), clock, tasks }
    }

    /// Changes how often faults happen.
    pub fn set_rates(&self, rates: FaultRates) {
        self.state.lock().rates = rates;
    }

    /// Decides the next writes, one by one; the rates count again after the last.
    pub fn script(&self, fates: impl IntoIterator<Item = Fate>) {
        self.state.lock().script = fates.into_iter().collect();
    }

    /// Operations so far.
    pub fn counts(&self) -> OperationCounts {
        self.state.lock().counts
    }

    async fn fate(&self, count: impl FnOnce(&mut OperationCounts)) -> Fate {
        let (rates, latency, draw) = {
            let mut state = self.state.lock();
            count(&mut state.counts);
            let draw = (self.clock.random() % 1000) as u32;
            let micros = state.rates.latency_max.as_micros() as u64;
            let latency = if micros > 0 { self.clock.random() as u64 % micros } else { 0 };
            (state.rates, Duration::from_micros(latency), draw)
        };
        if !latency.is_zero() {
            self.clock.sleep(latency).await;
        }
        let (before, after) = (rates.error_before, rates.error_before + rates.error_after);
        let fate = match draw {
            draw if draw < before => Fate::ErrorBefore,
            draw if draw < after => Fate::ErrorAfter,
            draw if draw < after + rates.late_effect => Fate::Late,
            draw if draw < after + rates.late_effect + rates.conflict => Fate::Conflict,
            _ => return Fate::Fine,
        };
        self.state.lock().counts.faults += 1;
        fate
    }

    fn delay(&self) -> Duration {
        let micros = (self.state.lock().rates.late_max.as_micros() as u64).max(1);
        Duration::from_micros(self.clock.random() as u64 % micros)
    }

    fn delete_later(&self, location: Path) {
        let (store, clock, delay) = (Arc::clone(&self.inner), Arc::clone(&self.clock), self.delay());
        self.tasks.spawn("late delete", async move {
            clock.sleep(delay).await;
            let _ = store.delete(&location).await;
        });
    }

    fn put_later(&self, location: &Path, payload: PutPayload, options: PutOptions) {
        let (store, clock, delay) = (Arc::clone(&self.inner), Arc::clone(&self.clock), self.delay());
        let location = location.clone();
        self.tasks.spawn("late put", async move {
            clock.sleep(delay).await;
            let _ = store.put_opts(&location, payload, options).await;
        });
    }
}

fn fault(what: &'static str) -> StoreError {
    StoreError::Generic { store: "fault", source: what.into() }
}

impl fmt::Display for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let scripted = self.state.lock().script.pop_front();
        let fate = match scripted {
            Some(fate) => {
                self.state.lock().counts.put += 1;
                fate
            }
            None => self.fate(|counts| counts.put += 1).await,
        };
        match fate {
            Fate::Fine => self.inner.put_opts(location, payload, options).await,
            Fate::ErrorBefore => Err(fault("error before effect")),
            Fate::ErrorAfter => {
                // A store answers a retry of its own success with a conflict, so either error may be ours.
                self.inner.put_opts(location, payload, options).await?;
                Err(fault("lost reply"))
            }
            Fate::Late => {
                self.put_later(location, payload, options);
                Err(fault("timeout; the effect comes later"))
            }
            Fate::Conflict => Err(StoreError::AlreadyExists {
                path: location.to_string(),
                source: "conflict; nothing was written".into(),
            }),
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        match self.fate(|counts| counts.get += 1).await {
            Fate::Fine => self.inner.get_opts(location, options).await,
            _ => Err(fault("read error")),
        }
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        match self.fate(|counts| counts.get += 1).await {
            Fate::Fine => self.inner.get_ranges(location, ranges).await,
            _ => Err(fault("read error")),
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let gated = locations.then(move |location| {
            let store = store.clone();
            async move {
                let fate = store.fate(|counts| counts.delete += 1).await;
                match (fate, location) {
                    (Fate::Fine, location) => location,
                    (Fate::ErrorAfter, Ok(location)) => {
                        store.inner.delete(&location).await?;
                        Err(fault("lost reply"))
                    }
                    (Fate::Late, Ok(location)) => {
                        store.delete_later(location);
                        Err(fault("timeout; the effect comes later"))
                    }
                    _ => Err(fault("delete error")),
                }
            }
        });
        self.inner.delete_stream(gated.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned());
        let listing = async move {
            match store.fate(|counts| counts.list += 1).await {
                Fate::Fine => store.inner.list(prefix.as_ref()),
                _ => futures::stream::iter([Err(fault("list error"))]).boxed(),
            }
        };
        futures::stream::once(listing).flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        match self.fate(|counts| counts.list += 1).await {
            Fate::Fine => self.inner.list_with_delimiter(prefix).await,
            _ => Err(fault("list error")),
        }
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
