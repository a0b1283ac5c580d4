//! The steps of model A, one function per step of the code that it stands for.

use super::*;

/// Nothing that a session remembers after its end is of use to anybody.
const OVER: Session = Session {
    phase: Phase::Over,
    version: 0,
    head: Version { session: 0, flushed: 0, files: 0, sources: 0, first: [0; SESSIONS] },
    sealed: 0,
    sealing: 0,
    committing: false,
    memory: 0,
    next: 0,
    lane: 0,
    slot: 0,
    previous: 0,
};

impl Log {
    /// What sessions can do: `wal/object/lane`, `seal`, `replay`, `index`; `manifest`; `region/maintain`.
    pub(super) fn steps_of_sessions(&self, state: &State, actions: &mut Vec<Action>) {
        for (number, session) in state.sessions.iter().enumerate() {
            let s = number as u8;
            match session.phase {
                Phase::Idle if number > 0 && state.sessions[number - 1].phase != Phase::Idle => {
                    actions.push(Action::ReadHead(s));
                }
                Phase::Reading => actions.push(Action::ReadHead(s)),
                Phase::Sealing if session.sealing == 0 => actions.push(Action::ListLane(s)),
                Phase::Sealing => {
                    let lane = self.unsealed(session, number).expect("a lane is being sealed");
                    if state.store[lane][session.sealing as usize - 1] != FREE {
                        actions.push(Action::ReadSeal(s));
                    }
                }
                Phase::Replaying => actions.push(Action::Replay(s)),
                Phase::Serving => self.steps_of_an_owner(state, number, actions),
                Phase::Idle | Phase::Claiming | Phase::Over => {}
            }
            if (session.phase == Phase::Claiming || session.committing) && self.can_settle(state, number) {
                actions.push(Action::Settle(s));
            }
        }
    }

    fn steps_of_an_owner(&self, state: &State, number: usize, actions: &mut Vec<Action>) {
        let (s, session) = (number as u8, &state.sessions[number]);
        let in_flight = self.in_flight(state, number);
        let is_queued = self.rows_of(number).any(|row| state.rows[row].status == Status::Queued);
        if !is_queued && self.rows_of(number).any(|row| state.rows[row].status == Status::Unborn) {
            actions.push(Action::Write(s));
        }
        if let Some(row) = in_flight {
            let found = state.store[session.lane as usize][session.slot as usize];
            if state.rows[row].created {
                actions.push(Action::Reply(s));
            }
            if found != FREE {
                actions.push(Action::ReadBack(s));
                if self.is_without(Without::ReadBack) {
                    actions.push(Action::TakenIsSuccess(s));
                }
            }
            let is_waiting = state.rows[row].status == Status::InFlight;
            if is_waiting && (self.is_without(Without::ConfirmBeforeAck) || self.is_without(Without::PendingToken)) {
                actions.push(Action::AckEarly(s));
            }
            if self.is_without(Without::OneBody) {
                actions.push(Action::GiveUp(s));
            }
        } else if self.lanes_of(number).contains(&(session.lane as usize + 1)) {
            actions.push(Action::SwitchLane(s));
        }
        if !session.committing && session.version + 1 < self.versions {
            if session.memory != 0 {
                actions.push(Action::Flush(s));
            }
            if self.edits {
                actions.push(Action::Edit(s));
            }
        }
        if session.version > state.boundary {
            actions.push(Action::Collect(s));
        }
        for lane in self.lanes_of(number) {
            if self.may_trim(state, number, (lane, state.low[lane] as usize)) {
                actions.push(Action::Trim(lane as u8));
            }
            if self.is_without(Without::TrimOfPrefix) {
                let slots = (0..SLOTS).filter(|slot| state.holes[lane] & 1 << slot == 0);
                let slots = slots.filter(|slot| self.may_trim(state, number, (lane, *slot)));
                actions.extend(slots.map(|slot| Action::TrimAny(lane as u8, slot as u8)));
            }
        }
    }

    /// What the store and the network can do with what was sent.
    pub(super) fn steps_of_the_store(&self, state: &State, actions: &mut Vec<Action>) {
        for (number, row) in state.rows.iter().enumerate().filter(|(_, row)| row.sent) {
            let found = state.store[row.lane as usize][row.slot as usize];
            if found == FREE {
                actions.push(Action::LandRow(number as u8));
            }
            let is_there = found == number as u8 + 1;
            if self.is_other(number) && is_there && state.other_flushed & 1 << number == 0 {
                actions.push(Action::FlushOther(number as u8));
            }
        }
        for lane in 0..self.lanes_in_all() {
            for (slot, object) in state.store[lane].iter().enumerate() {
                let place = (lane as u8, slot as u8);
                let is_trimmed = slot < state.low[lane] as usize || state.holes[lane] & 1 << slot != 0;
                match *object {
                    FREE if state.seals[lane] & 1 << slot != 0 => actions.push(Action::LandSeal(place.0, place.1)),
                    FREE => continue,
                    _ if self.may_delete_dead(state, lane, slot) => actions.push(Action::DeleteDead(place.0, place.1)),
                    _ => {}
                }
                if *object != FREE && is_trimmed {
                    actions.push(Action::LandDelete(place.0, place.1));
                }
            }
        }
        for version in 0..self.versions as usize {
            if state.manifest[version] == 0 {
                let sent = (0..SESSIONS).filter(|session| Self::matters(state, *session, version));
                actions.extend(sent.map(|session| Action::LandVersion(session as u8, version as u8)));
            }
        }
    }

    /// A version that lands where another was collected is seen by nobody but its own writer, while that waits for it.
    fn matters(state: &State, number: usize, version: usize) -> bool {
        let session = &state.sessions[number];
        let waits = session.phase == Phase::Claiming || session.committing;
        let is_awaited = waits && session.version as usize + 1 == version;
        state.bodies[number][version].is_some() && (state.history[version] == 0 || is_awaited)
    }

    /// The block whose PUT has no outcome yet.
    fn in_flight(&self, state: &State, session: usize) -> Option<usize> {
        let is_open = |row: &Row| row.sent && !row.durable && matches!(row.status, Status::InFlight | Status::Acked);
        self.rows_of(session).find(|row| is_open(&state.rows[*row]))
    }

    /// The next lane of the head's sources that the session does not know to be sealed.
    fn unsealed(&self, session: &Session, me: usize) -> Option<usize> {
        if self.is_without(Without::Seal) {
            return None;
        }
        let sources = (0..SESSIONS).filter(|source| *source != me && session.head.sources & 1 << source != 0);
        let only_first = self.is_without(Without::SealsOfAllLanes);
        let lanes = sources.flat_map(|source| self.lanes_of(source).take(if only_first { 1 } else { LANES }));
        lanes.into_iter().find(|lane| session.sealed & 1 << lane == 0)
    }

    /// Who met another body in its slot commits nothing more, but may go on writing.
    fn can_settle(&self, state: &State, number: usize) -> bool {
        let session = &state.sessions[number];
        let version = session.version as usize + 1;
        let found = state.manifest[version];
        let is_mine = found == number as u8 + 1;
        let is_collected = version < state.boundary as usize && !self.is_without(Without::Boundary);
        found != 0 && (session.phase == Phase::Claiming || (is_mine && !is_collected))
    }

    fn is_flushed(&self, state: &State, row: usize, flushed: u8) -> bool {
        if self.is_other(row) { state.other_flushed & 1 << row != 0 } else { state.rows[row].seq <= flushed }
    }

    /// `LaneIndex::trimmable`.
    fn may_trim(&self, state: &State, session: usize, (lane, slot): (usize, usize)) -> bool {
        let known = |row: &usize| state.rows[*row].durable && state.rows[*row].lane as usize == lane;
        let newest = self.rows_of(session).filter(known).map(|row| state.rows[row].slot as usize).max();
        let Some(row) = self.rows_of(session).filter(known).find(|row| state.rows[*row].slot as usize == slot) else {
            return false;
        };
        let is_newest = newest == Some(slot) && !self.is_without(Without::KeptNewest);
        let is_done = self.is_flushed(state, row, state.sessions[session].head.flushed);
        !is_newest && (is_done || self.is_without(Without::TrimAfterFlush))
    }

    /// `gc/session`: of a sealed lane, oldest first, what the manifests do not need.
    fn may_delete_dead(&self, state: &State, lane: usize, slot: usize) -> bool {
        let is_sealed = state.highest(lane).is_some_and(|highest| state.store[lane][highest] == SEAL);
        let data =
            |slots: &[u8]| slots.iter().copied().filter(|object| !matches!(*object, FREE | SEAL)).collect::<Vec<_>>();
        if state.store[lane][slot] == SEAL {
            return self.is_without(Without::KeptSeals) && is_sealed && data(&state.store[lane]).is_empty();
        }
        let flushed = state.head().flushed;
        let below = data(&state.store[lane][..=slot]);
        is_sealed && below.into_iter().all(|object| self.is_flushed(state, object as usize - 1, flushed))
    }

    pub(super) fn take(&self, state: &mut State, action: Action) {
        match action {
            Action::Write(s) => self.write(state, s as usize),
            Action::SwitchLane(s) => {
                let session = &mut state.sessions[s as usize];
                (session.lane, session.slot, session.previous) = (session.lane + 1, 0, NONE);
            }
            Action::LandRow(number) => {
                let is_awaited = self.in_flight(state, self.session_of_row(number as usize)) == Some(number as usize);
                let row = &mut state.rows[number as usize];
                state.store[row.lane as usize][row.slot as usize] = number + 1;
                row.created = is_awaited;
            }
            Action::Reply(s) | Action::TakenIsSuccess(s) => self.confirm(state, s as usize),
            Action::ReadBack(s) => self.read_back(state, s as usize),
            Action::AckEarly(s) => {
                let row = self.in_flight(state, s as usize).expect("a block is in flight");
                state.rows[row].status = Status::Acked;
            }
            Action::GiveUp(s) => {
                let row = self.in_flight(state, s as usize).expect("a block is in flight");
                state.rows[row].status = Status::Failed;
                // `Worker::roll_back` gives the sequence again.
                state.sessions[s as usize].next = state.rows[row].seq;
                self.refuse_queued(state, s as usize);
            }
            Action::ReadHead(s) => self.read_head(state, s as usize),
            Action::ListLane(s) => self.list_lane(state, s as usize),
            Action::ReadSeal(s) => self.read_seal(state, s as usize),
            Action::LandSeal(lane, slot) => state.store[lane as usize][slot as usize] = SEAL,
            Action::LandVersion(s, version) => {
                state.manifest[version as usize] = s + 1;
                if state.history[version as usize] == 0 {
                    state.history[version as usize] = s + 1;
                }
            }
            Action::Settle(s) => self.settle(state, s as usize),
            Action::Replay(s) => self.replay(state, s as usize),
            Action::Flush(s) => self.commit(state, s as usize, true),
            Action::Edit(s) => self.commit(state, s as usize, false),
            Action::FlushOther(row) => state.other_flushed |= 1 << row,
            Action::Trim(lane) => state.low[lane as usize] += 1,
            Action::TrimAny(lane, slot) => state.holes[lane as usize] |= 1 << slot,
            Action::LandDelete(lane, slot) | Action::DeleteDead(lane, slot) => {
                self.delete(state, lane as usize, slot as usize);
            }
            Action::Collect(s) => {
                state.boundary = state.sessions[s as usize].version;
                state.manifest[..state.boundary as usize].fill(0);
            }
        }
    }

    fn write(&self, state: &mut State, number: usize) {
        let row = self.rows_of(number).find(|row| state.rows[*row].status == Status::Unborn).expect("a row is left");
        let session = &mut state.sessions[number];
        if !self.is_other(row) {
            state.rows[row].seq = session.next;
            session.next += 1;
        }
        state.rows[row].status = Status::Queued;
        self.cut(state, number);
    }

    /// Sends the queued block when no PUT is in flight.
    fn cut(&self, state: &mut State, number: usize) {
        let queued = self.rows_of(number).find(|row| state.rows[*row].status == Status::Queued);
        let (Some(queued), None) = (queued, self.in_flight(state, number)) else { return };
        let (session, row) = (&state.sessions[number], &mut state.rows[queued]);
        (row.lane, row.slot, row.previous) = (session.lane, session.slot, session.previous);
        (row.status, row.sent) = (Status::InFlight, true);
    }

    /// Durable, then visible, then acknowledged.
    fn confirm(&self, state: &mut State, number: usize) {
        let row = self.in_flight(state, number).expect("a block is in flight");
        let session = &mut state.sessions[number];
        (session.slot, session.previous) = (session.slot + 1, row as u8);
        if !self.is_other(row) {
            session.memory |= 1 << row;
        }
        let row = &mut state.rows[row];
        (row.status, row.durable, row.created) = (Status::Acked, true, false);
        self.cut(state, number);
    }

    fn read_back(&self, state: &mut State, number: usize) {
        let row = self.in_flight(state, number).expect("a block is in flight");
        let session = &state.sessions[number];
        let found = state.store[session.lane as usize][session.slot as usize];
        if found == row as u8 + 1 {
            return self.confirm(state, number);
        }
        // Another process ended the session: what is in flight is unknown, what waits is definitely not written.
        if state.rows[row].status == Status::InFlight {
            let is_definite = self.is_without(Without::UnknownInFlight) && found == SEAL;
            state.rows[row].status = if is_definite { Status::Failed } else { Status::Unknown };
        }
        state.rows[row].created = false;
        self.refuse_queued(state, number);
        state.sessions[number] = OVER;
    }

    fn refuse_queued(&self, state: &mut State, number: usize) {
        for row in self.rows_of(number).filter(|row| state.rows[*row].status == Status::Queued).collect::<Vec<_>>() {
            state.rows[row].status = Status::Failed;
        }
    }

    fn read_head(&self, state: &mut State, number: usize) {
        let (head, version) = (state.head(), state.history.iter().rposition(|session| *session != 0));
        let session = &mut state.sessions[number];
        if head.session as usize >= number {
            *session = OVER;
            return;
        }
        (session.head, session.version) = (head, version.expect("version 0 is there") as u8);
        (session.phase, session.sealing) = (Phase::Sealing, 0);
        self.claim_when_sealed(state, number);
    }

    /// `Sealing::lane`: only a SEAL that a list shows as the highest object ends the lane.
    fn list_lane(&self, state: &mut State, number: usize) {
        let lane = self.unsealed(&state.sessions[number], number).expect("a lane is being sealed");
        let highest = state.highest(lane);
        if highest.is_some_and(|highest| state.store[lane][highest] == SEAL) {
            return self.note_sealed(state, number, lane);
        }
        let slot = highest.map_or(0, |highest| highest + 1);
        state.seals[lane] |= 1 << slot;
        state.sessions[number].sealing = slot as u8 + 1;
    }

    fn read_seal(&self, state: &mut State, number: usize) {
        let lane = self.unsealed(&state.sessions[number], number).expect("a lane is being sealed");
        let session = &mut state.sessions[number];
        let slot = session.sealing as usize - 1;
        if state.store[lane][slot] != SEAL {
            state.seals[lane] |= 1 << (slot + 1);
            session.sealing += 1;
            return;
        }
        session.sealing = 0;
        if self.is_without(Without::SecondList) {
            self.note_sealed(state, number, lane);
        }
    }

    fn note_sealed(&self, state: &mut State, number: usize, lane: usize) {
        let highest = state.highest(lane).expect("a SEAL is there");
        if state.ended[lane] == 0 {
            state.ended[lane] = highest as u8 + 1;
        }
        state.sessions[number].sealed |= 1 << lane;
        self.claim_when_sealed(state, number);
    }

    fn claim_when_sealed(&self, state: &mut State, number: usize) {
        let session = &mut state.sessions[number];
        if self.unsealed(session, number).is_some() {
            return;
        }
        let version = session.version as usize + 1;
        if version >= self.versions as usize {
            *session = OVER;
            return;
        }
        let claim = Version { session: number as u8, sources: session.head.sources | 1 << number, ..session.head };
        session.phase = Phase::Claiming;
        state.bodies[number][version] = Some(claim);
    }

    fn settle(&self, state: &mut State, number: usize) {
        let session = &mut state.sessions[number];
        let version = session.version as usize + 1;
        let is_mine = state.manifest[version] == number as u8 + 1;
        let is_collected = version < state.boundary as usize && !self.is_without(Without::Boundary);
        if !is_mine || is_collected {
            *session = Session { phase: Phase::Reading, sealed: session.sealed, ..Session::default() };
            if state.history[version] != number as u8 + 1 {
                state.bodies[number][version] = None;
            }
            return;
        }
        session.head = state.bodies[number][version].expect("it was sent");
        session.version = version as u8;
        session.memory &= !session.head.files;
        if session.phase == Phase::Claiming {
            session.phase = Phase::Replaying;
        }
        session.committing = false;
    }

    fn commit(&self, state: &mut State, number: usize, flushes: bool) {
        let lane = self.lanes_of(number).start;
        let session = &mut state.sessions[number];
        let memory = (0..ROWS).filter(|row| session.memory & 1 << row != 0).collect::<Vec<_>>();
        let mut body = session.head;
        if flushes {
            body.files |= session.memory;
            body.flushed = memory.iter().map(|row| state.rows[*row].seq).max().unwrap_or(body.flushed);
        }
        let is_left = |row: &&usize| state.rows[**row].seq > body.flushed;
        let sources = memory.iter().filter(is_left).map(|row| 1 << self.session_of_row(*row));
        body.sources = sources.fold(1 << number, |all, source: u8| all | source) & (body.sources | 1 << number);
        // `LaneIndex::first_needed`.
        let own = self.rows_of(number).filter(|row| state.rows[*row].durable && state.rows[*row].lane as usize == lane);
        let own = own.collect::<Vec<_>>();
        let needed = own.iter().filter(|row| !self.is_other(**row)).filter(is_left).map(|row| state.rows[*row].slot);
        body.first[number] = needed.min().unwrap_or(own.len() as u8);
        state.bodies[number][session.version as usize + 1] = Some(body);
        session.committing = true;
    }

    /// `SessionIndex::blocks` and `region/open`: the dense run below the SEALs, gapless in sequence.
    fn replay(&self, state: &mut State, number: usize) {
        let head = state.sessions[number].head;
        let mut found = Vec::new();
        let mut is_sound = true;
        for source in (0..SESSIONS).filter(|source| *source != number && head.sources & 1 << source != 0) {
            for lane in self.lanes_of(source) {
                let first = if lane == self.lanes_of(source).start { head.first[source] as usize } else { 0 };
                is_sound &= self.read_lane(state, (lane, first), head.flushed, &mut found);
            }
        }
        found.sort_by_key(|row| state.rows[*row].seq);
        is_sound &= (head.flushed + 1..).zip(&found).all(|(expected, row)| state.rows[*row].seq == expected);
        let is_current = state.head().session as usize == number;
        let session = &mut state.sessions[number];
        if !is_sound {
            // A session that was superseded meanwhile may find anything.
            state.corrupt |= is_current;
            *session = OVER;
            return;
        }
        session.memory = found.iter().fold(0, |all, row| all | 1 << row);
        session.next = head.flushed + 1 + found.len() as u8;
        (session.phase, session.sealed) = (Phase::Serving, 0);
        (session.lane, session.slot, session.previous) = (self.lanes_of(number).start as u8, 0, NONE);
    }

    /// False for what the code calls `Corrupt`, or a log that is not sealed though it should be.
    fn read_lane(&self, state: &State, (lane, first): (usize, usize), after: u8, found: &mut Vec<usize>) -> bool {
        let slots = state.store[lane];
        let Some(highest) = state.highest(lane) else { return self.is_without(Without::Seal) };
        let mut is_sound = slots[highest] == SEAL || self.is_without(Without::Seal);
        let run = state.run(lane);
        for slot in first..=highest {
            let object = slots[slot];
            if matches!(object, FREE | SEAL) {
                continue;
            }
            let row = object as usize - 1;
            let above = slots.get(slot + 1).copied().filter(|above| !matches!(*above, FREE | SEAL));
            let is_chained = above.is_none_or(|above| state.rows[above as usize - 1].previous == row as u8);
            is_sound &= is_chained || slot < run;
            if self.is_other(row) || state.rows[row].seq <= after {
                continue;
            }
            is_sound &= slot >= run;
            found.push(row);
        }
        is_sound
    }

    fn delete(&self, state: &mut State, lane: usize, slot: usize) {
        let object = std::mem::replace(&mut state.store[lane][slot], FREE);
        if !matches!(object, FREE | SEAL) {
            state.lost |= !self.is_flushed(state, object as usize - 1, state.head().flushed);
        }
    }
}
