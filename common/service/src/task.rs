//! The only way to start work: tasks belong to a set, and a set ends as a whole.
//!
//! A node is a set. Stopping it waits; killing it (simulation) drops every task
//! at its current await and forgets what it held, like `kill -9`; pausing it
//! (simulation) polls no task until it is resumed, like `kill -STOP`.

use std::future::Future;
use std::sync::{Arc, Weak};

use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use varve_model::{Error, Result};

use parking_lot::Mutex;
use tracing::Instrument;

mod gate;
#[cfg(test)]
mod tests;

use gate::Gate;

/// Where blocking and heavy work runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocking {
    /// On threads of their own, beside the event loop.
    Threads,
    /// In the calling task: deterministic, for simulation.
    Inline,
}

/// Tasks that live and end together. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TaskSet(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    blocking: Blocking,
    tracker: TaskTracker,
    token: CancellationToken,
    aborts: Mutex<Vec<AbortHandle>>,
    /// What every task is polled through; one with that of the parent, as a process stops as a whole.
    gate: Arc<Gate>,
    /// Sets that end with this one.
    children: Mutex<Vec<Weak<Inner>>>,
}

impl TaskSet {
    /// An empty set.
    pub fn new(blocking: Blocking) -> Self {
        Self::with_token(blocking, CancellationToken::new(), Arc::default())
    }

    fn with_token(blocking: Blocking, token: CancellationToken, gate: Arc<Gate>) -> Self {
        Self(Arc::new(Inner {
            blocking,
            tracker: TaskTracker::new(),
            token,
            aborts: Mutex::new(Vec::new()),
            gate,
            children: Mutex::default(),
        }))
    }

    /// A set that can end before this one, and ends at the latest with it: its token is cancelled
    /// with this one's, and a kill drops its tasks too. Whoever stops this set stops the child first.
    pub fn child(&self) -> Self {
        let child = Self::with_token(self.0.blocking, self.0.token.child_token(), Arc::clone(&self.0.gate));
        let mut children = self.0.children.lock();
        children.retain(|child| child.strong_count() > 0);
        children.push(Arc::downgrade(&child.0));
        child
    }

    /// Starts a task; `name` shows in its span.
    #[allow(clippy::disallowed_methods, reason = "this is the replacement that clippy.toml names")]
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let future = self.0.gate.pass(future.instrument(tracing::debug_span!("task", name)));
        let handle = tokio::spawn(self.0.tracker.track_future(future));
        let mut aborts = self.0.aborts.lock();
        aborts.retain(|abort| !abort.is_finished());
        aborts.push(handle.abort_handle());
        handle
    }

    /// Runs blocking or heavy work off the event loop. Errors: `Internal` when it panics.
    #[allow(clippy::disallowed_methods, reason = "this is the replacement that clippy.toml names")]
    pub async fn blocking<T, F>(&self, name: &'static str, work: F) -> Result<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match self.0.blocking {
            Blocking::Inline => Ok(work()),
            Blocking::Threads => {
                let span = tracing::Span::current();
                self.0
                    .tracker
                    .track_future(tokio::task::spawn_blocking(move || span.in_scope(work)))
                    .await
                    .map_err(|error| Error::internal(format!("{name} panicked")).with_source(error))
            }
        }
    }

    /// Cancelled when the set shall stop; tasks watch it.
    pub fn token(&self) -> &CancellationToken {
        &self.0.token
    }

    /// Asks all tasks to stop and waits until they have.
    pub async fn stop(&self) {
        self.0.token.cancel();
        self.0.tracker.close();
        self.0.tracker.wait().await;
    }

    /// Drops every task where it stands.
    pub fn kill(&self) {
        self.0.token.cancel();
        for abort in self.0.aborts.lock().drain(..) {
            abort.abort();
        }
        let children = std::mem::take(&mut *self.0.children.lock());
        for child in children.iter().filter_map(Weak::upgrade) {
            Self(child).kill();
        }
    }

    /// From now on no task of this set, its parent or its children runs, until [`TaskSet::resume`]; time goes on.
    pub fn pause(&self) {
        self.0.gate.close();
    }

    /// Ends a pause: every task goes on where it stands.
    pub fn resume(&self) {
        self.0.gate.open();
    }
}
