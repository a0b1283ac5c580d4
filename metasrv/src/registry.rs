//! Sessions that may be alive, and the orders that wait for them.
//!
//! All of it is in memory: what must survive a metasrv is in the records, and
//! orders follow from those. Lease arithmetic is on the boot clock; a session
//! counts as alive for a margin longer than it may believe itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use varve_model::id::{NodeEpoch, NodeId};
use varve_model::{Error, ErrorKind, Result};
use varve_proto::metasrv::{Beat, Order, OrderKind, Report};

mod orders;
#[cfg(test)]
mod tests;

use orders::Orders;

/// How much longer than its lease a session counts as alive.
pub(crate) const LEASE_MARGIN: Duration = Duration::from_secs(2);
/// Orders in one message.
pub(crate) const ORDERS_PER_REPLY_MAX: usize = 64;

/// What an order came to; shared, because several may wait for one order.
pub(crate) type OrderOutcome = Result<(), Arc<Error>>;

/// All sessions of this term.
#[derive(Debug)]
pub(crate) struct Registry {
    lease: Duration,
    repeat_after: Duration,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    sessions: BTreeMap<NodeEpoch, Session>,
    /// Orders are unique within a session, also over several metasrvs: each term starts at a random number.
    next_order: u64,
}

#[derive(Debug)]
struct Session {
    node: NodeId,
    /// When its last beat was answered.
    answered: Duration,
    /// The heartbeat stream in use; 0 before the first.
    stream: u64,
    connected: bool,
    wake: Arc<Notify>,
    orders: Orders,
}

/// The place of one heartbeat stream at its session.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    /// The session.
    pub(crate) session: NodeEpoch,
    /// Which of its streams.
    stream: u64,
    /// Woken when there are orders, or when the seat is lost.
    pub(crate) wake: Arc<Notify>,
}

impl Registry {
    /// No sessions. `random` starts the order numbers.
    pub(crate) fn new(lease: Duration, beat: Duration, random: u128) -> Self {
        let inner = Inner { sessions: BTreeMap::new(), next_order: (random as u64) >> 1 };
        Self { lease, repeat_after: 2 * beat, inner: Mutex::new(inner) }
    }

    /// Takes a session in; its lease counts from now.
    pub(crate) fn admit(&self, session: NodeEpoch, node: NodeId, now: Duration) {
        let fresh = Session {
            node,
            answered: now,
            stream: 0,
            connected: false,
            wake: Arc::default(),
            orders: Orders::default(),
        };
        self.inner.lock().sessions.insert(session, fresh);
    }

    /// Ends a session: it gets no more renewals, and whoever waits for it is told.
    pub(crate) fn retire(&self, session: NodeEpoch) {
        let gone = self.inner.lock().sessions.remove(&session);
        if let Some(gone) = gone {
            gone.orders.end(&ended(session));
            gone.wake.notify_one();
        }
    }

    /// Connected sessions with a lease, by epoch.
    pub(crate) fn connected(&self, now: Duration) -> Vec<(NodeEpoch, NodeId)> {
        let inner = self.inner.lock();
        let alive = inner
            .sessions
            .iter()
            .filter(|(_, session)| session.connected && now < session.answered + self.lease + LEASE_MARGIN);
        alive.map(|(epoch, session)| (*epoch, session.node)).collect()
    }

    /// Whether the session is known, alive or not.
    pub(crate) fn knows(&self, session: NodeEpoch) -> bool {
        self.inner.lock().sessions.contains_key(&session)
    }

    /// Seats a heartbeat stream; an older one of the session loses its seat. All orders are sent again.
    /// Errors: `Fenced` for a session that ended or never was.
    pub(crate) fn connect(&self, session: NodeEpoch) -> Result<Seat> {
        let mut inner = self.inner.lock();
        let found = inner.sessions.get_mut(&session).ok_or_else(|| unknown(session))?;
        found.stream += 1;
        found.connected = true;
        found.orders.unsend();
        // Wakes the older stream, if any, so that it notices.
        found.wake.notify_one();
        found.wake = Arc::default();
        Ok(Seat { session, stream: found.stream, wake: Arc::clone(&found.wake) })
    }

    /// Leaves a seat; nothing when it was lost already.
    pub(crate) fn disconnect(&self, seat: &Seat) {
        if let Ok(mut inner) = self.seated(seat)
            && let Some(session) = inner.sessions.get_mut(&seat.session)
        {
            session.connected = false;
        }
    }

    fn seated(&self, seat: &Seat) -> Result<parking_lot::MutexGuard<'_, Inner>> {
        let inner = self.inner.lock();
        let session = inner.sessions.get(&seat.session).ok_or_else(|| unknown(seat.session))?;
        if session.stream != seat.stream {
            return Err(Error::unavailable("a newer heartbeat stream of this session took over"));
        }
        Ok(inner)
    }

    /// Takes a beat: renews the lease, ends reported orders. Errors: `Fenced`, `Unavailable`.
    pub(crate) fn beat(&self, seat: &Seat, beat: Beat, now: Duration) -> Result<()> {
        let mut finished = Vec::new();
        {
            let mut inner = self.seated(seat)?;
            let session = inner.sessions.get_mut(&seat.session).ok_or_else(|| unknown(seat.session))?;
            session.answered = now;
            for Report { order, outcome } in beat.reports {
                // A report of an order of an earlier metasrv: nobody waits for it.
                if let Some(order) = session.orders.remove(order) {
                    finished.push((order, outcome));
                }
            }
        }
        for (order, outcome) in finished {
            order.finish(&outcome);
        }
        Ok(())
    }

    /// Orders to send now: new ones, and old ones that are not reported. Errors: `Fenced`, `Unavailable`.
    pub(crate) fn due(&self, seat: &Seat, now: Duration) -> Result<Vec<Order>> {
        let mut inner = self.seated(seat)?;
        let session = inner.sessions.get_mut(&seat.session).ok_or_else(|| unknown(seat.session))?;
        Ok(session.orders.due(now, self.repeat_after, ORDERS_PER_REPLY_MAX))
    }

    /// Gives an order; the receiver gets its outcome. Open, Alter and Drop that wait already are joined.
    /// Errors: `Unavailable` when the session has ended, `Busy`.
    pub(crate) fn order(&self, session: NodeEpoch, kind: OrderKind) -> Result<oneshot::Receiver<OrderOutcome>> {
        let mut inner = self.inner.lock();
        let id = inner.next_order;
        let found = inner.sessions.get_mut(&session).ok_or_else(|| ended(session))?;
        let (waiter, outcome) = oneshot::channel();
        if found.orders.add(Order { id, kind }, waiter)? {
            found.wake.notify_one();
            inner.next_order += 1;
        }
        Ok(outcome)
    }
}

fn ended(session: NodeEpoch) -> Error {
    Error::unavailable(format!("datanode session {session} has ended"))
}

fn unknown(session: NodeEpoch) -> Error {
    Error::new(ErrorKind::Fenced, format!("session {session} has ended or is unknown"))
        .with_hint("seal this session and start another")
}
