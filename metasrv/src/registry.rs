//! Sessions that may be alive, what their beats said, and the orders that wait for them.
//!
//! All of it is in memory: what must survive a metasrv is in the records, and
//! orders follow from those. Lease arithmetic is on the boot clock; a session
//! counts as alive for a margin longer than it may believe itself, counted from
//! the last beat that was answered, or from the start of this term.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use varve_model::id::{NodeEpoch, NodeId, RegionEpoch, RegionId, TableId, VolumeId};
use varve_model::scan::RegionStatistics;
use varve_model::{Error, ErrorKind, Result};
use varve_proto::metasrv::{Beat, Life, Order, OrderKind, RegionReport, Report};

mod orders;
#[cfg(test)]
mod tests;

use orders::Orders;
pub(crate) use orders::{Failure, OrderOutcome};

/// How much longer than its lease a session counts as alive: this, or a quarter of a short lease.
const LEASE_MARGIN_MAX: Duration = Duration::from_secs(2);
/// Orders in one message.
pub(crate) const ORDERS_PER_REPLY_MAX: usize = 64;

/// All sessions of this term.
#[derive(Debug)]
pub(crate) struct Registry {
    /// What sessions are told that begin now.
    lease: Duration,
    /// When this term began, which is when it stopped earlier ones from answering.
    began: Duration,
    repeat_after: Duration,
    inner: Mutex<Inner>,
    /// A session came, left or is about to stop: reconcile looks at once.
    moved: Notify,
}

#[derive(Debug)]
struct Inner {
    sessions: BTreeMap<NodeEpoch, Session>,
    /// What the newest beat said of each region, by whom and when.
    regions: BTreeMap<RegionId, (NodeEpoch, Duration, RegionStatistics)>,
    /// Owners of regions that only the bucket knows.
    strays: BTreeSet<NodeEpoch>,
    /// Orders are unique within a session, also over several metasrvs: each term starts at a random number.
    next_order: u64,
}

/// Who a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// The session.
    pub(crate) session: NodeEpoch,
    /// Its node.
    pub(crate) node: NodeId,
    /// Its local WAL directory; without one its log is in the bucket, where others can seal and read it.
    pub(crate) volume: Option<VolumeId>,
    /// How long a beat renews it: what it was told when it began.
    pub(crate) lease: Duration,
}

#[derive(Debug)]
struct Session {
    member: Member,
    /// When its last beat was answered, or when this term began.
    answered: Duration,
    life: Life,
    /// The heartbeat stream in use; 0 before the first.
    stream: u64,
    connected: bool,
    wake: Arc<Notify>,
    orders: Orders,
}

impl Session {
    fn is_alive(&self, now: Duration) -> bool {
        now < self.answered + alive_for(self.member.lease)
    }
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
    /// No sessions; the term begins `now`. `random` starts the order numbers.
    pub(crate) fn new((lease, beat): (Duration, Duration), now: Duration, random: u128) -> Self {
        let inner = Inner {
            sessions: BTreeMap::new(),
            regions: BTreeMap::new(),
            strays: BTreeSet::new(),
            next_order: (random as u64) >> 1,
        };
        Self { lease, began: now, repeat_after: 2 * beat, inner: Mutex::new(inner), moved: Notify::new() }
    }

    /// Takes a session in; its lease counts from now.
    pub(crate) fn admit(&self, member: Member, now: Duration) {
        let fresh = Session {
            member,
            answered: now,
            life: Life::Serving,
            stream: 0,
            connected: false,
            wake: Arc::default(),
            orders: Orders::default(),
        };
        self.inner.lock().sessions.insert(member.session, fresh);
    }

    /// Ends a session: it gets no more renewals, and whoever waits for it is told.
    pub(crate) fn retire(&self, session: NodeEpoch) {
        let mut inner = self.inner.lock();
        inner.regions.retain(|_, (owner, _, _)| *owner != session);
        let gone = inner.sessions.remove(&session);
        drop(inner);
        if let Some(gone) = gone {
            gone.orders.end(&ended(session));
            gone.wake.notify_one();
        }
    }

    /// The lease of sessions that begin now.
    pub(crate) fn lease(&self) -> Duration {
        self.lease
    }

    /// How long an order may be unreported before another datanode is asked too.
    pub(crate) fn patience(&self) -> Duration {
        self.lease / 2
    }

    /// Connected sessions with a lease that may get regions, by epoch.
    pub(crate) fn placeable(&self, now: Duration) -> Vec<Member> {
        self.connected(now, |session| session.life == Life::Serving)
    }

    /// Connected sessions with a lease that can work in the bucket on behalf of others, by epoch.
    pub(crate) fn sealers(&self, now: Duration) -> Vec<Member> {
        self.connected(now, |session| session.life != Life::Sealed && session.member.volume.is_none())
    }

    fn connected(&self, now: Duration, which: impl Fn(&Session) -> bool) -> Vec<Member> {
        let inner = self.inner.lock();
        let alive =
            inner.sessions.values().filter(|session| session.connected && session.is_alive(now) && which(session));
        alive.map(|session| session.member).collect()
    }

    /// Whether the session is known, alive or not.
    pub(crate) fn knows(&self, session: NodeEpoch) -> bool {
        self.inner.lock().sessions.contains_key(&session)
    }

    /// Whether the session cannot be alive any more: it was not answered for its lease and the margin. One that this
    /// term does not know was answered by an earlier one at most.
    pub(crate) fn is_dead(&self, session: NodeEpoch, now: Duration) -> bool {
        let inner = self.inner.lock();
        match inner.sessions.get(&session) {
            Some(session) => !session.is_alive(now),
            None => now >= self.began + alive_for(self.lease),
        }
    }

    /// A session owns a region as the bucket says; should no record know it, reconcile has it sealed.
    pub(crate) fn owner_found(&self, session: NodeEpoch) {
        if self.inner.lock().strays.insert(session) {
            self.moved.notify_one();
        }
    }

    /// The session is sealed.
    pub(crate) fn owner_sealed(&self, session: NodeEpoch) {
        self.inner.lock().strays.remove(&session);
    }

    /// Owners that were found in the bucket and are not known to be sealed.
    pub(crate) fn owners_found(&self) -> BTreeSet<NodeEpoch> {
        self.inner.lock().strays.clone()
    }

    /// How far the process has come, as its last beat said.
    pub(crate) fn life(&self, session: NodeEpoch) -> Option<Life> {
        self.inner.lock().sessions.get(&session).map(|session| session.life)
    }

    /// A session of the node that beats right now, on another volume than this.
    pub(crate) fn rival(&self, node: NodeId, volume: Option<VolumeId>, now: Duration) -> Option<Member> {
        let inner = self.inner.lock();
        let rivals = inner.sessions.values().filter(|session| {
            let proved_dead = volume.is_some() && session.member.volume == volume;
            session.member.node == node
                && !proved_dead
                && session.connected
                && session.life != Life::Sealed
                && now < session.answered + self.repeat_after
        });
        rivals.map(|session| session.member).next()
    }

    /// Returns when a session came, left or is about to stop; at once when one did since the last time.
    pub(crate) async fn moved(&self) {
        self.moved.notified().await;
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
        self.moved.notify_one();
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

    /// Takes a beat: renews the lease, ends reported orders, keeps what it says of regions.
    /// The caller may lead at `now`. Errors: `Fenced`, `Unavailable`.
    pub(crate) fn beat(&self, seat: &Seat, beat: Beat, now: Duration) -> Result<()> {
        let mut finished = Vec::new();
        {
            let mut inner = self.seated(seat)?;
            let session = inner.sessions.get_mut(&seat.session).ok_or_else(|| unknown(seat.session))?;
            session.answered = now;
            if session.life != beat.life {
                session.life = beat.life;
                self.moved.notify_one();
            }
            for Report { order, outcome, found } in beat.reports {
                // A report of an order of an earlier metasrv: nobody waits for it.
                if let Some(order) = session.orders.remove(order) {
                    finished.push((order, outcome.map_err(|error| Failure { error, found })));
                }
            }
            inner.regions.retain(|_, (owner, _, _)| *owner != seat.session);
            for (region, statistics) in beat.regions {
                // A session that lost a region may speak of it until it notices.
                let newest = inner.regions.get(&region).is_none_or(|(owner, _, _)| *owner < seat.session);
                if newest {
                    inner.regions.insert(region, (seat.session, now, statistics));
                }
            }
        }
        for (order, outcome) in finished {
            order.finish(&outcome);
        }
        Ok(())
    }

    /// What the newest beats said of regions, of one table or of all.
    pub(crate) fn statistics(&self, table: Option<TableId>, now: Duration) -> Vec<RegionReport> {
        let inner = self.inner.lock();
        let wanted = inner.regions.iter().filter(|(region, _)| table.is_none_or(|table| region.table() == table));
        let reports = wanted.map(|(region, (session, at, statistics))| RegionReport {
            region: *region,
            session: *session,
            age: now.saturating_sub(*at),
            statistics: *statistics,
        });
        reports.collect()
    }

    /// Who serves each region, and under which grant, as the newest beats said.
    pub(crate) fn served(&self) -> BTreeMap<RegionId, (NodeEpoch, RegionEpoch)> {
        let inner = self.inner.lock();
        inner.regions.iter().map(|(region, (session, _, says))| (*region, (*session, says.epoch))).collect()
    }

    /// Orders to send now: new ones, and old ones that are not reported. Errors: `Fenced`, `Unavailable`.
    pub(crate) fn due(&self, seat: &Seat, now: Duration) -> Result<Vec<Order>> {
        let mut inner = self.seated(seat)?;
        let session = inner.sessions.get_mut(&seat.session).ok_or_else(|| unknown(seat.session))?;
        Ok(session.orders.due(now, self.repeat_after, ORDERS_PER_REPLY_MAX))
    }

    /// Gives an order; the receiver gets its outcome. An equal one that waits already is joined when
    /// one execution serves both.
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

/// How long after its last answered beat a session with this lease may be alive: longer than it may itself believe,
/// since it counts from the send of that beat and on a clock that may be slower.
fn alive_for(lease: Duration) -> Duration {
    lease + LEASE_MARGIN_MAX.min(lease / 4)
}
