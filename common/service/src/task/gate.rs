//! What the tasks of a set are polled through: closed, none of them runs.
//!
//! An open gate costs one atomic load per poll.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// Open, or closed with those who wait before it.
#[derive(Debug, Default)]
pub(super) struct Gate {
    is_closed: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

impl Gate {
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }

    pub(super) fn open(&self) {
        let waiting = {
            let mut waiting = self.waiting.lock();
            self.is_closed.store(false, Ordering::Release);
            std::mem::take(&mut *waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// The future, polled only while the gate is open.
    pub(super) fn pass<F: Future + Send + 'static>(
        self: &Arc<Self>,
        future: F,
    ) -> impl Future<Output = F::Output> + Send + use<F> {
        let gate = Arc::clone(self);
        let mut future = Box::pin(future);
        std::future::poll_fn(move |context| gate.poll(future.as_mut(), context))
    }

    fn poll<F: Future>(&self, future: Pin<&mut F>, context: &mut Context<'_>) -> Poll<F::Output> {
        if self.is_closed.load(Ordering::Acquire) {
            let mut waiting = self.waiting.lock();
            // Looked at again under the lock, or an opening in between would forget this one.
            if self.is_closed.load(Ordering::Acquire) {
                if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                    waiting.push(context.waker().clone());
                }
                return Poll::Pending;
            }
        }
        future.poll(context)
    }
}
