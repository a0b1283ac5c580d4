//! Orders of one session: each is kept, and sent again, until it is reported.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use varve_model::{Error, Result};
use varve_proto::metasrv::{Found, Order, OrderKind, Subject};

/// Orders a session may owe: one per region of a full node, with room for those of clients.
const ORDERS_MAX: usize = 65_536;

/// What an order came to; shared, because several may wait for one order.
pub(crate) type OrderOutcome = Result<(), Failure>;

/// Why an order was not carried out.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) error: Arc<Error>,
    /// What the bucket knows and the records do not, when a grant was refused for it.
    pub(crate) found: Option<Found>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error: Arc::new(error), found: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

/// Orders that are not reported yet.
#[derive(Debug, Default)]
pub(super) struct Orders {
    waiting: BTreeMap<u64, Waiting>,
    of_subject: BTreeMap<Subject, BTreeSet<u64>>,
}

/// One order and those who wait for it.
#[derive(Debug)]
pub(super) struct Waiting {
    order: Order,
    sent: Option<Duration>,
    waiters: Vec<oneshot::Sender<OrderOutcome>>,
}

impl Waiting {
    /// Tells all waiters.
    pub(super) fn finish(self, outcome: &OrderOutcome) {
        for waiter in self.waiters {
            // Whoever went away needs no answer.
            let _ = waiter.send(outcome.clone());
        }
    }
}

/// Whether one execution serves everyone who asked before it ends. A flush that
/// runs already may have passed the rows of whoever asks now.
fn can_be_joined(kind: &OrderKind) -> bool {
    match kind {
        OrderKind::Open(_) | OrderKind::Alter(_) | OrderKind::Drop(_) | OrderKind::Seal(_) | OrderKind::Forget(_) => {
            true
        }
        OrderKind::Truncate(_) | OrderKind::Flush(_) | OrderKind::Compact(_) => false,
    }
}

impl Orders {
    /// Adds an order, or joins an equal one that waits already; whether it was added. Errors: `Busy`.
    pub(super) fn add(&mut self, order: Order, waiter: oneshot::Sender<OrderOutcome>) -> Result<bool> {
        let subject = order.kind.subject();
        let last = self.of_subject.get(&subject).and_then(BTreeSet::last);
        // Only the subject's last order can be joined: an equal one before it was overruled since.
        if let Some(last) = last.and_then(|id| self.waiting.get_mut(id))
            && can_be_joined(&order.kind)
            && last.order.kind == order.kind
        {
            last.waiters.push(waiter);
            return Ok(false);
        }
        if self.waiting.len() >= ORDERS_MAX {
            return Err(Error::busy(format!("a datanode owes reports of {ORDERS_MAX} orders")));
        }
        self.of_subject.entry(subject).or_default().insert(order.id);
        self.waiting.insert(order.id, Waiting { order, sent: None, waiters: vec![waiter] });
        Ok(true)
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&id)?;
        let subject = waiting.order.kind.subject();
        if let Some(ids) = self.of_subject.get_mut(&subject) {
            ids.remove(&id);
            if ids.is_empty() {
                self.of_subject.remove(&subject);
            }
        }
        Some(waiting)
    }

    /// Orders never sent or sent long ago, oldest first.
    pub(super) fn due(&mut self, now: Duration, repeat_after: Duration, count_max: usize) -> Vec<Order> {
        let due =
            self.waiting.values_mut().filter(|waiting| waiting.sent.is_none_or(|sent| now >= sent + repeat_after));
        let due = due.take(count_max).map(|waiting| {
            waiting.sent = Some(now);
            waiting.order.clone()
        });
        due.collect()
    }

    /// Forgets what was sent: another stream must get it again.
    pub(super) fn unsend(&mut self) {
        for waiting in self.waiting.values_mut() {
            waiting.sent = None;
        }
    }

    /// Tells all waiters that no report will come.
    pub(super) fn end(self, error: &Error) {
        let outcome = Err(Failure::from(error.copy()));
        for waiting in self.waiting.into_values() {
            waiting.finish(&outcome);
        }
    }
}
