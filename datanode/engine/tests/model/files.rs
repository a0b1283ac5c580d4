//! Model B: the files of a region. Upload, commit, compaction, deletion, checkpoints, collection, orphans.
//!
//! Three sessions own the region in turn, each may be a zombie. What was sent
//! may land at any later time. A file stands for the rows that a flush wrote, or
//! for those of the files that a compaction replaced.

use stateright::{Model, Property};

use crate::{Bounds, bounds, breaks, holds};

const SESSIONS: usize = 3;
const VERSIONS: usize = 7;
const FILES: usize = 6;

/// A rule that is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    Boundary,
    /// Any session deletes what the head it read does not name.
    OwnerOfOrphans,
    /// Orphans are also looked for among files of the own epoch.
    OlderEpochOfOrphans,
    /// A commit whose outcome is not known is given up, and its file deleted.
    WaitForCommit,
    ReadBack,
    Pins,
    DeleteAfterCommit,
    /// A gap behind a checkpoint is taken for damage at once.
    SecondRead,
}

#[derive(Clone, Debug)]
struct Files {
    /// Files that each session may write.
    files: [u8; SESSIONS],
    versions: u8,
    without: Option<Without>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Version {
    session: u8,
    files: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Phase {
    #[default]
    Idle,
    /// It read the newest checkpoint, of this version.
    Reading(Option<u8>),
    Claiming,
    Serving,
    Uploading,
    Committing,
    Over,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Session {
    phase: Phase,
    version: u8,
    files: u8,
    /// The file being added, and those it replaces.
    adds: u8,
    removes: u8,
    /// Waits for deletion.
    garbage: u8,
    /// Of a running scan.
    pinned: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    sessions: [Session; SESSIONS],
    bodies: [[Option<Version>; VERSIONS]; SESSIONS],
    manifest: [u8; VERSIONS],
    history: [u8; VERSIONS],
    boundary: u8,
    checkpoints: u8,
    /// Files whose PUT was sent, and those that are there.
    sent: u8,
    stored: u8,
    /// Flushed files that each file has the rows of.
    rows: [u8; FILES],
    /// Flushed files whose commit was believed.
    believed: u8,
    /// A file was deleted by somebody else than its owner, though a commit could still name it.
    intruded: bool,
    corrupt: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    ReadCheckpoint(u8),
    ReadVersions(u8),
    LandVersion(u8, u8),
    Settle(u8),
    Flush(u8),
    Compact(u8),
    LandFile(u8),
    Commit(u8),
    GiveUpUpload(u8),
    GiveUpCommit(u8),
    Delete(u8, u8),
    Orphans(u8),
    Scan(u8),
    EndScan(u8),
    Checkpoint(u8),
    Collect(u8),
    DeleteVersion(u8),
}

fn bits(mask: u8) -> impl Iterator<Item = usize> {
    (0..8).filter(move |bit| mask & 1 << bit != 0)
}

impl Files {
    fn is_without(&self, rule: Without) -> bool {
        self.without == Some(rule)
    }

    fn files_of(&self, session: usize) -> std::ops::Range<usize> {
        let first = self.files[..session].iter().sum::<u8>() as usize;
        first..first + self.files[session] as usize
    }

    fn session_of(&self, file: usize) -> usize {
        (0..SESSIONS).find(|session| self.files_of(*session).contains(&file)).expect("every file has a session")
    }

    /// Its next fresh name.
    fn fresh(&self, state: &State, session: usize) -> Option<usize> {
        self.files_of(session).find(|file| state.sent & 1 << file == 0)
    }

    /// What a collection of orphans would take.
    fn orphans(&self, state: &State, number: usize) -> u8 {
        let session = &state.sessions[number];
        let (epoch, named) = match self.without {
            Some(Without::OwnerOfOrphans) => (SESSIONS, state.head().files),
            Some(Without::OlderEpochOfOrphans) => (number + 1, session.files),
            _ => (number, session.files),
        };
        let older = (0..FILES).filter(|file| *file < self.files_of(SESSIONS - 1).end && self.session_of(*file) < epoch);
        older.fold(0, |all, file| all | 1 << file) & state.stored & !named & !session.garbage
    }

    fn steps_of(&self, state: &State, number: usize, actions: &mut Vec<Action>) {
        let (s, session) = (number as u8, &state.sessions[number]);
        match session.phase {
            Phase::Idle if number > 0 && state.sessions[number - 1].phase != Phase::Idle => {
                actions.push(Action::ReadCheckpoint(s));
            }
            Phase::Reading(_) => actions.push(Action::ReadVersions(s)),
            Phase::Claiming if state.manifest[session.version as usize + 1] != 0 => actions.push(Action::Settle(s)),
            Phase::Serving => {
                if self.fresh(state, number).is_some() && session.version + 1 < self.versions {
                    actions.push(Action::Flush(s));
                    if session.files.count_ones() > 1 {
                        actions.push(Action::Compact(s));
                    }
                }
                if state.checkpoints & 1 << session.version == 0 {
                    actions.push(Action::Checkpoint(s));
                }
                if Self::earlier_checkpoint(state, *session)
                    .is_some_and(|version| version + 1 > state.boundary as usize)
                {
                    actions.push(Action::Collect(s));
                }
            }
            Phase::Uploading => {
                if state.stored & 1 << session.adds.trailing_zeros() != 0 {
                    actions.push(Action::Commit(s));
                }
                actions.push(Action::GiveUpUpload(s));
            }
            Phase::Committing => {
                if state.manifest[session.version as usize + 1] != 0 {
                    actions.push(Action::Settle(s));
                }
                if self.is_without(Without::WaitForCommit) {
                    actions.push(Action::GiveUpCommit(s));
                }
            }
            Phase::Idle | Phase::Claiming | Phase::Over => {}
        }
        let owns = matches!(session.phase, Phase::Serving | Phase::Uploading | Phase::Committing);
        let may_look = owns || (self.is_without(Without::OwnerOfOrphans) && session.phase != Phase::Over);
        if may_look && self.orphans(state, number) != 0 {
            actions.push(Action::Orphans(s));
        }
        let free = session.garbage & if self.is_without(Without::Pins) { u8::MAX } else { !session.pinned };
        actions.extend(bits(free).map(|file| Action::Delete(s, file as u8)));
        let is_current = state.head().session == s;
        if owns && is_current && session.pinned == 0 && session.files != 0 {
            actions.push(Action::Scan(s));
        }
        if session.pinned != 0 {
            actions.push(Action::EndScan(s));
        }
    }

    /// The checkpoint before that of the head: versions up to it may go.
    fn earlier_checkpoint(state: &State, session: Session) -> Option<usize> {
        let has_own = state.checkpoints & 1 << session.version != 0;
        bits(state.checkpoints).take_while(|version| *version < session.version as usize).last().filter(|_| has_own)
    }

    fn take(&self, state: &mut State, action: Action) {
        match action {
            Action::ReadCheckpoint(s) => {
                let newest = bits(state.checkpoints).last().map(|version| version as u8);
                state.sessions[s as usize].phase = Phase::Reading(newest);
            }
            Action::ReadVersions(s) => self.read_versions(state, s as usize),
            Action::LandVersion(s, version) => {
                state.manifest[version as usize] = s + 1;
                if state.history[version as usize] == 0 {
                    state.history[version as usize] = s + 1;
                }
            }
            Action::Settle(s) => self.settle(state, s as usize),
            Action::Flush(s) | Action::Compact(s) => {
                let file = self.fresh(state, s as usize).expect("a name is left");
                let is_flush = matches!(action, Action::Flush(_));
                let session = &mut state.sessions[s as usize];
                session.removes = if is_flush { 0 } else { session.files };
                let inputs = bits(session.removes).map(|input| state.rows[input]);
                state.rows[file] = if is_flush { 1 << file } else { inputs.fold(0, |all, rows| all | rows) };
                (session.adds, session.phase) = (1 << file, Phase::Uploading);
                state.sent |= 1 << file;
            }
            Action::LandFile(file) => state.stored |= 1 << file,
            Action::Commit(s) => {
                let session = &mut state.sessions[s as usize];
                let files = session.files & !session.removes | session.adds;
                state.bodies[s as usize][session.version as usize + 1] = Some(Version { session: s, files });
                session.phase = Phase::Committing;
                if self.is_without(Without::DeleteAfterCommit) {
                    session.garbage |= session.removes;
                }
            }
            Action::GiveUpUpload(s) => {
                let session = &mut state.sessions[s as usize];
                (session.phase, session.adds, session.removes) = (Phase::Serving, 0, 0);
            }
            Action::GiveUpCommit(s) => {
                let session = &mut state.sessions[s as usize];
                *session = Session { phase: Phase::Over, garbage: session.garbage | session.adds, ..*session };
            }
            Action::Delete(s, file) => {
                state.stored &= !(1 << file);
                state.sessions[s as usize].garbage &= !(1 << file);
                // I10: of its own epoch, or of one that can commit no more.
                let owner = self.session_of(file as usize);
                state.intruded |= owner > s as usize || (owner < s as usize && state.head().session < s);
            }
            Action::Orphans(s) => state.sessions[s as usize].garbage |= self.orphans(state, s as usize),
            Action::Scan(s) => state.sessions[s as usize].pinned = state.sessions[s as usize].files,
            Action::EndScan(s) => state.sessions[s as usize].pinned = 0,
            Action::Checkpoint(s) => state.checkpoints |= 1 << state.sessions[s as usize].version,
            Action::Collect(s) => {
                let earlier = Self::earlier_checkpoint(state, state.sessions[s as usize]).expect("there is one");
                state.boundary = earlier as u8 + 1;
                state.checkpoints &= !((1 << earlier) - 1);
            }
            Action::DeleteVersion(version) => state.manifest[version as usize] = 0,
        }
    }

    /// `manifest/head`: the versions behind the checkpoint must be dense and chained, else it is read again.
    fn read_versions(&self, state: &mut State, number: usize) {
        let Phase::Reading(checkpoint) = state.sessions[number].phase else { return };
        let first = checkpoint.map_or(0, |version| version as usize + 1);
        let head = state.manifest.iter().rposition(|found| *found != 0).expect("the head is never collected");
        let is_sound = (first..=head)
            .all(|version| state.manifest[version] != 0 && state.manifest[version] == state.history[version]);
        let session = &mut state.sessions[number];
        if !is_sound {
            // Versions were collected since the checkpoint was read: then there is a newer one.
            let is_stale = bits(state.checkpoints).last().map(|version| version as u8) != checkpoint;
            if is_stale && !self.is_without(Without::SecondRead) {
                session.phase = Phase::Idle;
            } else {
                state.corrupt = true;
                session.phase = Phase::Over;
            }
            return;
        }
        let head_session = state.history[head] as usize - 1;
        let body = state.bodies[head_session][head].expect("a landed version has a body");
        if head_session >= number || head + 1 >= self.versions as usize {
            session.phase = Phase::Over;
            return;
        }
        (session.version, session.files, session.phase) = (head as u8, body.files, Phase::Claiming);
        state.bodies[number][head + 1] = Some(Version { session: number as u8, files: body.files });
    }

    fn settle(&self, state: &mut State, number: usize) {
        let session = &mut state.sessions[number];
        let version = session.version as usize + 1;
        let is_mine = state.manifest[version] == number as u8 + 1;
        let is_collected = version < state.boundary as usize && !self.is_without(Without::Boundary);
        let believes =
            (is_mine && !is_collected) || (self.is_without(Without::ReadBack) && session.phase == Phase::Committing);
        if !believes {
            let is_claim = session.phase == Phase::Claiming;
            // A fenced owner keeps what it had queued for deletion, and its scans.
            session.phase = if is_claim { Phase::Idle } else { Phase::Over };
            return;
        }
        let body = state.bodies[number][version].expect("it was sent");
        if session.phase == Phase::Committing {
            session.garbage |= session.removes;
            state.believed |= bits(session.adds).fold(0, |all, file| all | state.rows[file]);
        }
        (session.version, session.files) = (version as u8, body.files);
        (session.adds, session.removes, session.phase) = (0, 0, Phase::Serving);
    }
}

impl State {
    fn head(&self) -> Version {
        let version = self.history.iter().rposition(|session| *session != 0).expect("version 0 is there");
        self.bodies[self.history[version] as usize - 1][version].expect("a landed version has a body")
    }
}

/// I9.
fn named_files_exist(_: &Files, state: &State) -> bool {
    state.head().files & !state.stored == 0
}

/// I9, for readers of the owner.
fn pinned_files_exist(_: &Files, state: &State) -> bool {
    state.sessions[state.head().session as usize].pinned & !state.stored == 0
}

/// I1, in files: rows whose flush was committed stay.
fn flushed_rows_stay(_: &Files, state: &State) -> bool {
    let rows = bits(state.head().files).fold(0, |all, file| all | state.rows[file]);
    state.believed & !rows == 0
}

/// I7.
fn commits_are_in_order(_: &Files, state: &State) -> bool {
    let owners = state.history.iter().take_while(|owner| **owner != 0).collect::<Vec<_>>();
    owners.is_sorted() && state.history[owners.len()..].iter().all(|owner| *owner == 0)
}

/// I12.
fn the_boundary_covers_what_is_gone(_: &Files, state: &State) -> bool {
    (0..VERSIONS)
        .all(|version| state.history[version] == 0 || state.manifest[version] != 0 || version < state.boundary as usize)
}

fn a_commit_lands_too_late(_: &Files, state: &State) -> bool {
    state.manifest.iter().zip(&state.history).any(|(found, first)| *found != 0 && found != first)
}

fn an_orphan_waits(model: &Files, state: &State) -> bool {
    let garbage = |number: usize| bits(state.sessions[number].garbage).any(|file| model.session_of(file) < number);
    (0..SESSIONS).any(garbage)
}

impl Model for Files {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut state = State {
            sessions: [Session::default(); SESSIONS],
            bodies: [[None; VERSIONS]; SESSIONS],
            manifest: [0; VERSIONS],
            history: [0; VERSIONS],
            boundary: 0,
            checkpoints: 0,
            sent: 0,
            stored: 0,
            rows: [0; FILES],
            believed: 0,
            intruded: false,
            corrupt: false,
        };
        state.bodies[0][0] = Some(Version::default());
        (state.manifest[0], state.history[0]) = (1, 1);
        state.sessions[0].phase = Phase::Serving;
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for number in 0..SESSIONS {
            self.steps_of(state, number, actions);
        }
        actions.extend(
            bits(state.sent & !state.stored)
                .filter(|file| self.may_land(state, *file))
                .map(|file| Action::LandFile(file as u8)),
        );
        for version in 0..self.versions as usize {
            if state.manifest[version] == 0 {
                let sent = (0..SESSIONS).filter(|session| {
                    // One that lost, and whose writer knows it, is a duplicate without effect.
                    let session = (*session, &state.sessions[*session]);
                    let waits = matches!(session.1.phase, Phase::Claiming | Phase::Committing);
                    let is_awaited = waits && session.1.version as usize + 1 == version;
                    state.bodies[session.0][version].is_some() && (state.history[version] == 0 || is_awaited)
                });
                actions.extend(sent.map(|session| Action::LandVersion(session as u8, version as u8)));
            } else if version < state.boundary as usize {
                actions.push(Action::DeleteVersion(version as u8));
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        self.take(&mut next, action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::<Self>::always("I9 named files exist", named_files_exist),
            Property::<Self>::always("I9 files of the owner's scans exist", pinned_files_exist),
            Property::<Self>::always("I1 flushed rows stay", flushed_rows_stay),
            Property::<Self>::always("I7 commits are in order", commits_are_in_order),
            Property::<Self>::always("I10 nobody deletes what another may commit", |_, state| !state.intruded),
            Property::<Self>::always("I12 the boundary covers what is gone", the_boundary_covers_what_is_gone),
            Property::<Self>::always("no reader meets damage", |_, state| !state.corrupt),
        ];
        if self.without.is_none() {
            properties.push(Property::<Self>::sometimes("a commit lands too late", a_commit_lands_too_late));
            properties.push(Property::<Self>::sometimes("an orphan waits", an_orphan_waits));
        }
        properties
    }
}

impl Files {
    /// A file lands once: a duplicate of a deleted one is an orphan that the next owner finds.
    fn may_land(&self, state: &State, file: usize) -> bool {
        let owner = &state.sessions[self.session_of(file)];
        let is_new = !state.bodies[self.session_of(file)].iter().flatten().any(|body| body.files & 1 << file != 0);
        is_new || owner.adds & 1 << file != 0
    }
}

fn small() -> Files {
    Files { files: [3, 1, 0], versions: 5, without: None }
}

#[test]
fn files_are_there_as_long_as_somebody_needs_them() {
    match bounds() {
        Bounds::Small => holds("files", Files { files: [1, 1, 0], versions: 4, ..small() }),
        Bounds::Full => holds("files", Files { files: [2, 0, 0], ..small() }),
    }
}

#[test]
fn every_rule_of_the_files_is_needed() {
    for without in [
        Without::Boundary,
        Without::OwnerOfOrphans,
        Without::OlderEpochOfOrphans,
        Without::WaitForCommit,
        Without::ReadBack,
        Without::Pins,
        Without::DeleteAfterCommit,
        Without::SecondRead,
    ] {
        let versions = if without == Without::Boundary { 6 } else { 5 };
        breaks(&format!("files without {without:?}"), Files { without: Some(without), versions, ..small() });
    }
}
