//! Model A: the log in the bucket. Write, acknowledge, seal, claim, replay, flush, trim, collect.
//!
//! Three sessions own one region in turn; each runs the same code and may be
//! paused for ever at any step or go on as a zombie, so a crash needs no step of
//! its own. What was sent once (PUT of an object, a SEAL, a version; DELETE) may
//! land at any later time, any number of times, and its reply may be lost.
//! A row stands for a block and for its object. The claimant's seals stand for those of whoever is ordered to.

use std::hash::Hash;

use stateright::{Model, Property};

use crate::{Bounds, bounds, breaks, holds};

mod step;

pub(crate) const SESSIONS: usize = 3;
pub(crate) const LANES: usize = 4;
pub(crate) const SLOTS: usize = 5;
pub(crate) const VERSIONS: usize = 7;
pub(crate) const ROWS: usize = 5;

/// An empty slot, and a SEAL; anything else is a row's number and one.
pub(crate) const FREE: u8 = 0;
pub(crate) const SEAL: u8 = 255;
/// No slot, no row.
pub(crate) const NONE: u8 = 255;

/// A rule that is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Without {
    Seal,
    SecondList,
    KeptSeals,
    KeptNewest,
    TrimAfterFlush,
    TrimOfPrefix,
    ReadBack,
    ConfirmBeforeAck,
    PendingToken,
    OneBody,
    Boundary,
    SealsOfAllLanes,
    UnknownInFlight,
}

/// Bounds of the model.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    /// Rows that each session may write.
    pub(crate) rows: [u8; SESSIONS],
    /// Rows that belong to another region of the same log, by number.
    pub(crate) other: u8,
    /// Lanes of the first session; the others have one.
    pub(crate) lanes: u8,
    /// Versions of the manifest.
    pub(crate) versions: u8,
    /// Whether owners commit edits that flush nothing.
    pub(crate) edits: bool,
    pub(crate) without: Option<Without>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Status {
    #[default]
    Unborn,
    Queued,
    InFlight,
    Acked,
    /// A definite error was answered.
    Failed,
    Unknown,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Row {
    pub(crate) status: Status,
    /// In its region; 0 for rows of the other region.
    pub(crate) seq: u8,
    pub(crate) lane: u8,
    pub(crate) slot: u8,
    /// What the lane's object before held; the hash chain.
    pub(crate) previous: u8,
    pub(crate) sent: bool,
    /// A plain success is on its way back, or was.
    pub(crate) created: bool,
    /// Its session knows it as durable.
    pub(crate) durable: bool,
}

/// What the manifest adds up to at one version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Version {
    pub(crate) session: u8,
    pub(crate) flushed: u8,
    /// Rows in files.
    pub(crate) files: u8,
    /// Sessions that may hold rows above `flushed`.
    pub(crate) sources: u8,
    /// First slot of lane 0 that may still be needed, per session.
    pub(crate) first: [u8; SESSIONS],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    #[default]
    Idle,
    Sealing,
    Claiming,
    Replaying,
    Serving,
    /// A conflict was met: the head is read again.
    Reading,
    Over,
}

/// What one session has in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Session {
    pub(crate) phase: Phase,
    pub(crate) version: u8,
    pub(crate) head: Version,
    /// Lanes that it knows to be sealed.
    pub(crate) sealed: u8,
    /// Where it put a SEAL that it has not read back yet, and one.
    pub(crate) sealing: u8,
    pub(crate) committing: bool,
    /// Rows that are visible and in no file.
    pub(crate) memory: u8,
    pub(crate) next: u8,
    pub(crate) lane: u8,
    pub(crate) slot: u8,
    pub(crate) previous: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) rows: [Row; ROWS],
    /// The bucket: slots of each lane.
    pub(crate) store: [[u8; SLOTS]; LANES],
    /// SEALs that were ever sent, by slot.
    pub(crate) seals: [u8; LANES],
    /// Slots below were trimmed by their writer; a DELETE may be on its way.
    pub(crate) low: [u8; LANES],
    /// Without the rule of the prefix: slots trimmed out of order.
    pub(crate) holes: [u8; LANES],
    /// Versions as sent.
    pub(crate) bodies: [[Option<Version>; VERSIONS]; SESSIONS],
    /// The bucket: whose body each version's slot holds, and one.
    pub(crate) manifest: [u8; VERSIONS],
    /// Whose body it held first, and one: the truth.
    pub(crate) history: [u8; VERSIONS],
    pub(crate) boundary: u8,
    /// Rows of the other region that are in its files.
    pub(crate) other_flushed: u8,
    pub(crate) sessions: [Session; SESSIONS],
    /// Where each lane was declared ended first, and one.
    pub(crate) ended: [u8; LANES],
    /// A current owner met damage.
    pub(crate) corrupt: bool,
    /// A log object was deleted whose rows are in no file.
    pub(crate) lost: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Write(u8),
    SwitchLane(u8),
    LandRow(u8),
    Reply(u8),
    ReadBack(u8),
    TakenIsSuccess(u8),
    AckEarly(u8),
    GiveUp(u8),
    ReadHead(u8),
    ListLane(u8),
    ReadSeal(u8),
    LandSeal(u8, u8),
    LandVersion(u8, u8),
    Settle(u8),
    Replay(u8),
    Flush(u8),
    Edit(u8),
    FlushOther(u8),
    Trim(u8),
    TrimAny(u8, u8),
    LandDelete(u8, u8),
    DeleteDead(u8, u8),
    Collect(u8),
}

impl Log {
    pub(crate) fn is_without(&self, rule: Without) -> bool {
        self.without == Some(rule)
    }

    /// The session's rows by number.
    pub(crate) fn rows_of(&self, session: usize) -> std::ops::Range<usize> {
        let first = self.rows[..session].iter().sum::<u8>() as usize;
        first..first + self.rows[session] as usize
    }

    pub(crate) fn session_of_row(&self, row: usize) -> usize {
        (0..SESSIONS).find(|session| self.rows_of(*session).contains(&row)).expect("every row has a session")
    }

    /// Lanes: those of the first session, then one of each other.
    pub(crate) fn lanes_of(&self, session: usize) -> std::ops::Range<usize> {
        match session {
            0 => 0..self.lanes as usize,
            other => self.lanes as usize + other - 1..self.lanes as usize + other,
        }
    }

    pub(crate) fn lanes_in_all(&self) -> usize {
        self.lanes as usize + SESSIONS - 1
    }

    pub(crate) fn is_other(&self, row: usize) -> bool {
        self.other & 1 << row != 0
    }
}

impl State {
    /// The committed head, as it truly is.
    pub(crate) fn head(&self) -> Version {
        let version = self.history.iter().rposition(|session| *session != 0).expect("version 0 is there");
        self.bodies[self.history[version] as usize - 1][version].expect("a landed version has a body")
    }

    /// First slot of the dense run that ends with the lane's highest object.
    pub(crate) fn run(&self, lane: usize) -> usize {
        let slots = &self.store[lane];
        let Some(mut at) = slots.iter().rposition(|object| *object != FREE) else { return 0 };
        while at > 0 && slots[at] == SEAL && slots[at - 1] == SEAL {
            at -= 1;
        }
        while at > 0 && slots[at - 1] != FREE && slots[at - 1] != SEAL {
            at -= 1;
        }
        at
    }

    pub(crate) fn highest(&self, lane: usize) -> Option<usize> {
        self.store[lane].iter().rposition(|object| *object != FREE)
    }

    /// The owner that the manifest names, once it serves.
    fn owner(&self) -> Option<&Session> {
        let owner = &self.sessions[self.head().session as usize];
        (owner.phase == Phase::Serving).then_some(owner)
    }

    fn with(&self, status: Status, model: &Log) -> u8 {
        (0..ROWS)
            .filter(|row| self.rows[*row].status == status && !model.is_other(*row))
            .fold(0, |all, row| all | 1 << row)
    }
}

/// I1, at rest: what was acknowledged is in files, or where the next owner will look for it.
fn acked_rows_can_be_found(model: &Log, state: &State) -> bool {
    let head = state.head();
    let acked = state.with(Status::Acked, model) & !head.files;
    let others = (0..ROWS).filter(|row| model.is_other(*row) && state.rows[*row].status == Status::Acked);
    let mut others = others.filter(|row| state.other_flushed & 1 << row == 0);
    let is_there = |number: usize| {
        let row = &state.rows[number];
        let (lane, slot) = (row.lane as usize, row.slot as usize);
        state.store[lane][slot] == number as u8 + 1 && slot >= state.run(lane)
    };
    let found = (0..ROWS).filter(|row| acked & 1 << row != 0).all(|number| {
        let row = &state.rows[number];
        let session = model.session_of_row(number);
        head.sources & 1 << session != 0
            && row.seq > head.flushed
            && is_there(number)
            && (row.lane as usize != model.lanes_of(session).start || row.slot >= head.first[session])
    });
    found && others.all(is_there)
}

/// I1, as read: the owner shows every acknowledged row.
fn acked_rows_are_shown(model: &Log, state: &State) -> bool {
    let shown = state.owner().map(|owner| owner.head.files | owner.memory);
    shown.is_none_or(|shown| state.with(Status::Acked, model) & !shown == 0)
}

/// I1, once: no two rows with one sequence.
fn no_sequence_is_given_twice(model: &Log, state: &State) -> bool {
    let shown = state.head().files | state.owner().map_or(0, |owner| owner.memory);
    let mut seen = 0_u32;
    (0..ROWS).filter(|row| shown & 1 << row != 0 && !model.is_other(*row)).all(|row| {
        let before = seen;
        seen |= 1 << state.rows[row].seq;
        before != seen
    })
}

/// I3.
fn failed_rows_never_appear(model: &Log, state: &State) -> bool {
    let shown = state.head().files | state.owner().map_or(0, |owner| owner.memory);
    state.with(Status::Failed, model) & shown == 0
}

/// I6.
fn acked_rows_are_below_the_seal(_: &Log, state: &State) -> bool {
    let acked = state.rows.iter().filter(|row| row.status == Status::Acked);
    acked.into_iter().all(|row| state.ended[row.lane as usize] == 0 || row.slot + 1 < state.ended[row.lane as usize])
}

/// I7 and I8: epochs and flushed sequences never fall, and who believes in a commit is right.
fn commits_are_in_order(_: &Log, state: &State) -> bool {
    let versions = state.history.iter().enumerate().take_while(|(_, session)| **session != 0);
    let versions = versions
        .map(|(version, session)| state.bodies[*session as usize - 1][version].expect("a landed version has a body"));
    let versions = versions.collect::<Vec<_>>();
    let dense = state.history[versions.len()..].iter().all(|session| *session == 0);
    let owners = state.sessions.iter().filter(|session| matches!(session.phase, Phase::Serving | Phase::Replaying));
    dense
        && versions.windows(2).all(|pair| pair[0].session <= pair[1].session && pair[0].flushed <= pair[1].flushed)
        && owners.into_iter().all(|session| versions.get(session.version as usize) == Some(&session.head))
}

/// I12.
fn the_boundary_covers_what_is_gone(_: &Log, state: &State) -> bool {
    let gone = |version: &usize| state.history[*version] != 0 && state.manifest[*version] == 0;
    (0..VERSIONS).filter(gone).all(|version| version < state.boundary as usize)
}

fn a_second_list_finds_more(_: &Log, state: &State) -> bool {
    let is_above = |lane: &[u8; SLOTS]| lane.windows(2).any(|pair| pair[0] == SEAL && !matches!(pair[1], FREE | SEAL));
    state.store.iter().any(is_above) && state.sessions.iter().any(|session| session.phase == Phase::Sealing)
}

fn two_sessions_are_replayed(model: &Log, state: &State) -> bool {
    let memory = |session: usize| model.rows_of(session).any(|row| state.sessions[2].memory & 1 << row != 0);
    memory(0) && memory(1)
}

/// Below the run that a reader trusts.
fn a_duplicate_comes_back(model: &Log, state: &State) -> bool {
    let ended = (0..model.lanes_in_all()).filter(|lane| state.ended[*lane] != 0);
    ended
        .into_iter()
        .any(|lane| state.store[lane][..state.run(lane)].iter().any(|object| !matches!(*object, FREE | SEAL)))
}

fn a_commit_lands_too_late(_: &Log, state: &State) -> bool {
    let slots = state.manifest.iter().zip(&state.history);
    slots.into_iter().any(|(found, first)| *found != 0 && found != first)
}

impl Model for Log {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let head = Version { sources: 1, ..Version::default() };
        let mut state = State {
            rows: [Row::default(); ROWS],
            store: [[FREE; SLOTS]; LANES],
            seals: [0; LANES],
            low: [0; LANES],
            holes: [0; LANES],
            bodies: [[None; VERSIONS]; SESSIONS],
            manifest: [0; VERSIONS],
            history: [0; VERSIONS],
            boundary: 0,
            other_flushed: 0,
            sessions: [Session::default(); SESSIONS],
            ended: [0; LANES],
            corrupt: false,
            lost: false,
        };
        state.bodies[0][0] = Some(head);
        (state.manifest[0], state.history[0]) = (1, 1);
        state.sessions[0] = Session { phase: Phase::Serving, head, next: 1, previous: NONE, ..Session::default() };
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.steps_of_sessions(state, actions);
        self.steps_of_the_store(state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        self.take(&mut next, action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::<Self>::always("I1 acked rows can be found", acked_rows_can_be_found),
            Property::<Self>::always("I1 acked rows are shown", acked_rows_are_shown),
            Property::<Self>::always("I1 no sequence is given twice", no_sequence_is_given_twice),
            Property::<Self>::always("I3 failed rows never appear", failed_rows_never_appear),
            Property::<Self>::always("I6 acked rows are below the SEAL", acked_rows_are_below_the_seal),
            Property::<Self>::always("I7 commits are in order", commits_are_in_order),
            Property::<Self>::always("I11 deleted objects held only flushed rows", |_, state| !state.lost),
            Property::<Self>::always("I12 the boundary covers what is gone", the_boundary_covers_what_is_gone),
            Property::<Self>::always("a current owner meets no damage", |_, state| !state.corrupt),
        ];
        let is_whole = self.without.is_none() && !self.edits;
        if is_whole && self.rows[0] > 1 {
            properties.push(Property::<Self>::sometimes("a second list finds more", a_second_list_finds_more));
            properties.push(Property::<Self>::sometimes("a duplicate comes back", a_duplicate_comes_back));
        }
        if is_whole && self.rows[1] > 0 {
            properties.push(Property::<Self>::sometimes("two sessions are replayed", two_sessions_are_replayed));
        }
        if self.without.is_none() && self.edits {
            properties.push(Property::<Self>::sometimes("a commit lands too late", a_commit_lands_too_late));
        }
        properties
    }
}

/// A writer that may be a zombie, and two owners after it.
fn small() -> Log {
    Log { rows: [2, 0, 0], other: 0, lanes: 1, versions: 4, edits: false, without: None }
}

#[test]
fn the_log_keeps_what_it_acknowledged() {
    match bounds() {
        Bounds::Small => holds("log", small()),
        Bounds::Full => holds("log", Log { rows: [3, 0, 0], ..small() }),
    }
}

#[test]
fn two_owners_write_and_the_third_replays_both() {
    match bounds() {
        Bounds::Small => holds("log, two writers", Log { rows: [1, 1, 0], ..small() }),
        Bounds::Full => holds("log, two writers", Log { rows: [2, 1, 0], versions: 5, ..small() }),
    }
}

#[test]
fn edits_between_flushes_lose_nothing() {
    match bounds() {
        Bounds::Small => holds("log, edits", Log { rows: [1, 0, 0], versions: 4, edits: true, ..small() }),
        Bounds::Full => holds("log, edits", Log { rows: [1, 1, 0], versions: 5, edits: true, ..small() }),
    }
}

#[test]
fn two_lanes_keep_what_they_acknowledged() {
    match bounds() {
        Bounds::Small => holds("log, two lanes", Log { rows: [1, 0, 0], lanes: 2, ..small() }),
        Bounds::Full => holds("log, two lanes", Log { rows: [2, 0, 0], lanes: 2, ..small() }),
    }
}

#[test]
fn two_regions_share_a_log() {
    match bounds() {
        Bounds::Small => holds("log, two regions", Log { rows: [2, 0, 0], other: 0b1, ..small() }),
        Bounds::Full => holds("log, two regions", Log { rows: [3, 0, 0], other: 0b10, ..small() }),
    }
}

#[test]
fn every_rule_of_the_log_is_needed() {
    let two_lanes = Log { lanes: 2, ..small() };
    let two_regions = Log { rows: [3, 0, 0], other: 0b10, ..small() };
    let edits = Log { rows: [1, 0, 0], edits: true, ..small() };
    for (without, model) in [
        (Without::Seal, small()),
        (Without::SecondList, Log { rows: [3, 0, 0], ..small() }),
        (Without::KeptSeals, small()),
        (Without::KeptNewest, Log { rows: [3, 0, 0], ..small() }),
        (Without::TrimAfterFlush, small()),
        (Without::TrimOfPrefix, two_regions),
        (Without::ReadBack, small()),
        (Without::ConfirmBeforeAck, small()),
        (Without::PendingToken, small()),
        (Without::OneBody, small()),
        (Without::Boundary, edits),
        (Without::SealsOfAllLanes, two_lanes),
        (Without::UnknownInFlight, small()),
    ] {
        breaks(&format!("log without {without:?}"), Log { without: Some(without), ..model });
    }
}
