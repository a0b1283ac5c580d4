//! Orders of one session: each is kept, and sent again, until it is reported.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use varve_model::id::RegionId;
use varve_model::{Error, Result};
use varve_proto::metasrv::{Order, OrderKind};

use super::OrderOutcome;

/// Orders a session may owe: one per region of a full node, with room for those of clients.
const ORDERS_MAX: usize = 65_536;

/// Orders that are not reported yet.
#[derive(Debug, Default)]
pub(super) struct Orders {
    waiting: BTreeMap<u64, Waiting>,
    of_region: BTreeMap<RegionId, BTreeSet<u64>>,
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

/// The region an order is about.
fn region_of(kind: &OrderKind) -> RegionId {
    match kind {
        OrderKind::Open(grant) | OrderKind::Alter(grant) => grant.region,
        OrderKind::Drop(region)
        | OrderKind::Truncate(region)
        | OrderKind::Flush(region)
        | OrderKind::Compact(region) => *region,
    }
}

/// Whether one execution serves everyone who asked before it ends. A flush that
/// runs already may have passed the rows of whoever asks now.
fn can_be_joined(kind: &OrderKind) -> bool {
    matches!(kind, OrderKind::Open(_) | OrderKind::Alter(_) | OrderKind::Drop(_))
}

impl Orders {
    /// Adds an order, or joins an equal one that waits already; whether it was added. Errors: `Busy`.
    pub(super) fn add(&mut self, order: Order, waiter: oneshot::Sender<OrderOutcome>) -> Result<bool> {
        let region = region_of(&order.kind);
        let last = self.of_region.get(&region).and_then(BTreeSet::last);
        // Only the region's last order can be joined: an equal one before it was overruled since.
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
        self.of_region.entry(region).or_default().insert(order.id);
        self.waiting.insert(order.id, Waiting { order, sent: None, waiters: vec![waiter] });
        Ok(true)
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&id)?;
        let region = region_of(&waiting.order.kind);
        if let Some(ids) = self.of_region.get_mut(&region) {
            ids.remove(&id);
            if ids.is_empty() {
                self.of_region.remove(&region);
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
        let outcome = Err(Arc::new(error.copy()));
        for waiting in self.waiting.into_values() {
            waiting.finish(&outcome);
        }
    }
}
