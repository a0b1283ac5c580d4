//! What a leader brings in order by itself: at its start, when a datanode starts, and all the time.
//!
//! Each step reads the image of the records and what beats said, and starts the
//! work that follows from them. It takes no input and remembers nothing, so that
//! whatever a crash or a failed write left half done is taken up again.

mod failover;
mod forget;
mod outgrown;
mod takeover;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use varve_model::Result;
use varve_model::id::NodeEpoch;
use varve_model::region::{Route, RouteState};
use varve_proto::metasrv::Life;

use crate::kv::key::{RouteKey, SessionKey, SessionRecord, SessionState};
use crate::procedure::{Executor, Job};
use crate::registry::{Member, Registry};

use outgrown::newer_epoch;
pub(crate) use takeover::open_session;

/// Pause between two steps; a session that moves starts one at once.
const STEP_PAUSE: Duration = Duration::from_millis(500);

/// Takes up what an earlier leader left: sessions, procedures, regions that are opening.
pub(crate) async fn resume(executor: &Executor) -> Result<()> {
    let now = executor.clock.boot();
    let sessions = executor.records.all::<SessionKey>().await?;
    for (key, found) in &sessions {
        if found.record.state == SessionState::Live {
            // Its lease counts from now: the earlier leader may have answered it a moment ago.
            executor.registry.admit(member(&executor.registry, key.0, &found.record), now);
        }
    }
    for (key, found) in &sessions {
        if found.record.state == SessionState::Live {
            takeover::take_over(executor, key.0, &found.record).await?;
        }
    }
    executor.resume().await?;
    let mut opening = BTreeSet::new();
    for (key, found) in executor.records.all::<RouteKey>().await? {
        if found.record.routes.iter().any(|route| route.state == RouteState::Opening) {
            opening.insert(key.table);
        }
    }
    for table in opening {
        executor.start_opening(table);
    }
    let stepping = executor.clone();
    let token = executor.tasks.token().clone();
    executor.tasks.spawn("reconcile", async move {
        tokio::select! {
            () = run(&stepping) => {}
            () = token.cancelled() => {}
        }
    });
    Ok(())
}

async fn run(executor: &Executor) {
    loop {
        step(executor);
        tokio::select! {
            () = executor.clock.sleep(STEP_PAUSE) => {}
            () = executor.registry.moved() => {}
        }
    }
}

fn member(registry: &Registry, session: NodeEpoch, record: &SessionRecord) -> Member {
    let lease = record.lease_ms.map_or(registry.lease(), Duration::from_millis);
    Member { session, node: record.node, volume: record.volume, lease }
}

/// What is to be done about a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    FailOver,
    /// A session that lives holds its volume.
    TakeOver(NodeEpoch),
    Forget,
}

/// What a step looks at.
struct View<'a> {
    registry: &'a Registry,
    sessions: &'a BTreeMap<NodeEpoch, SessionRecord>,
    /// Regions by owner.
    owners: &'a BTreeMap<NodeEpoch, usize>,
    now: Duration,
}

/// Starts all work that is due and not under way.
fn step(executor: &Executor) {
    let now = executor.clock.boot();
    if executor.leadership.check(now).is_err() {
        return;
    }
    let (procedures, sessions, owners) =
        executor.feed.read(|image| (image.procedures(), image.sessions(), image.load()));
    for key in procedures {
        if !executor.works_on(Job::Procedure(key)) {
            let work = executor.clone();
            executor.work(Job::Procedure(key), async move { work.take_up(key).await });
        }
    }
    let view = View { registry: &executor.registry, sessions: &sessions, owners: &owners, now };
    for (epoch, record) in &sessions {
        match view.due(*epoch, record) {
            Due::Nothing => {}
            Due::FailOver => failover::start(executor, *epoch),
            Due::TakeOver(heir) => takeover::start(executor, heir),
            Due::Forget => forget::start(executor, *epoch),
        }
    }
    // Owners whose records an old backup does not have.
    let mut strangers = executor.registry.owners_found();
    strangers.extend(owners.keys());
    strangers.retain(|owner| !sessions.contains_key(owner) && !executor.registry.knows(*owner));
    for stranger in strangers.into_iter().filter(|owner| view.registry.is_dead(*owner, now) && view.can_seal(*owner)) {
        failover::start(executor, stranger);
    }
    let served = executor.registry.served();
    for table in executor.feed.read(|image| image.tables_with(|route| newer_epoch(&served, route).is_some())) {
        outgrown::start(executor, table, &served);
    }
    let opens = |route: &Route| route.state == RouteState::Opening && executor.registry.knows(route.owner);
    for table in executor.feed.read(|image| image.tables_with(opens)) {
        if !executor.works_on(Job::Open(table)) {
            executor.start_opening(table);
        }
    }
}

impl View<'_> {
    /// Whether somebody else is there to seal it: with nobody to take its regions nothing is gained
    /// by fencing a session.
    fn can_seal(&self, session: NodeEpoch) -> bool {
        self.registry.sealers(self.now).iter().any(|other| other.session != session)
    }

    /// The session that holds this one's volume now.
    fn heir(&self, session: NodeEpoch, record: &SessionRecord) -> Option<NodeEpoch> {
        let on_volume = |other: &SessionRecord| other.volume == record.volume && other.state == SessionState::Live;
        let heirs = self.sessions.iter().filter(|(epoch, other)| **epoch > session && on_volume(other));
        heirs.map(|(epoch, _)| *epoch).next_back()
    }

    fn due(&self, session: NodeEpoch, record: &SessionRecord) -> Due {
        let owns = self.owners.contains_key(&session);
        let when = |condition: bool| if condition { Due::FailOver } else { Due::Nothing };
        if record.volume.is_some() {
            // Its regions wait for the volume; whoever returns with it takes over.
            return match (record.state, self.heir(session, record)) {
                (SessionState::Sealed, Some(heir)) if owns => Due::TakeOver(heir),
                (SessionState::Sealed, Some(_)) => Due::Forget,
                _ => Due::Nothing,
            };
        }
        match record.state {
            SessionState::Live if self.registry.life(session) == Some(Life::Sealed) => Due::FailOver,
            SessionState::Live => when(self.registry.is_dead(session, self.now) && self.can_seal(session)),
            SessionState::Fencing => when(self.can_seal(session)),
            SessionState::Sealed if owns => when(!self.registry.placeable(self.now).is_empty()),
            SessionState::Sealed => Due::Forget,
        }
    }
}
