//! Model C: who leads, who is alive, who owns. Two metasrvs, three datanode sessions, one region, a clock.
//!
//! Messages take any time or are lost, processes pause, and the metadata may be
//! restored from an old backup. Time is the same everywhere: the code compares
//! intervals of the boot clock only. How an owner is taken over in the bucket is
//! model A; here a claim is one step that seals the owner before.

use stateright::{Model, Property};

use crate::{Bounds, bounds, breaks, holds};

const MEMBERS: usize = 2;
const SESSIONS: usize = 3;
/// Ticks: the leader's lease, a session's, and how much longer it counts as alive.
const LEADER: u8 = 2;
const TTL: u8 = 2;
const MARGIN: u8 = 1;
const EPOCHS: usize = 4;
/// Times are kept relative to this, so that a state does not depend on when it is reached.
const NOW: u8 = 8;

/// Terms of a member: none, its own that is the newest, one that another followed.
const NONE: u8 = 0;
const LEADS: u8 = 1;
const LED: u8 = 2;

/// A rule that is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    /// A leader answers beats after its own lease.
    SilenceOfTheDeposed,
    /// A region that is opening is granted again though nobody failed, left or died.
    Report,
    /// Transactions compare neither the leader nor the record.
    Guard,
    /// A session counts its lease from the reply.
    LeaseFromSend,
    /// A new leader counts from what it does not know.
    CountFromElection,
    /// A session's object is not looked at.
    SessionObject,
    /// A grant that is not above the manifest's epoch is taken.
    HigherEpoch,
    /// A session whose lease had lapsed takes a new one without a look at its log.
    LookAfterLapse,
    /// A claimant ends an owner that nobody has sealed.
    SealByOrder,
    /// An owner that no record knows is sealed at once.
    CountForStrangers,
    /// An owner that lives is sealed like a stranger when a claimant finds it.
    LivingOwner,
}

/// What may become of the metadata, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Restore {
    Never,
    /// An old backup replaces it.
    Old,
    /// A backup replaces it that was taken while the first session was given up.
    AmidFailover,
}

#[derive(Clone, Debug)]
struct Lease {
    members: u8,
    /// Sessions that may be there.
    sessions: u8,
    restore: Restore,
    without: Option<Without>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Life {
    #[default]
    Unknown,
    Live,
    Fencing,
    Sealed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Beat {
    #[default]
    None,
    Sent(u8, u8),
    /// It was answered; sent at.
    Answered(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Member {
    term: u8,
    until: u8,
    renewing: Option<u8>,
    /// Sessions it answers, and when it last did.
    knows: u8,
    answered: [u8; SESSIONS],
    /// The region's epoch as it last read or wrote it.
    epoch: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Session {
    node_epoch: u8,
    until: u8,
    beat: Beat,
    /// A grant that it has not carried out.
    order: u8,
    /// The epoch that it serves.
    serves: u8,
}

impl Default for Member {
    fn default() -> Self {
        let answered = [NOW - TTL - MARGIN; SESSIONS];
        Self { term: NONE, until: NOW, renewing: None, knows: 0, answered, epoch: 0 }
    }
}

impl Default for Session {
    fn default() -> Self {
        Self { node_epoch: 0, until: NOW, beat: Beat::None, order: 0, serves: 0 }
    }
}

/// What etcd holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Records {
    leader: u8,
    lease_end: u8,
    owner: u8,
    epoch: u8,
    is_open: bool,
    lives: [Life; SESSIONS],
    next_node: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    records: Records,
    members: [Member; MEMBERS],
    sessions: [Session; SESSIONS],
    /// The bucket: the manifest's epoch and owner, sealed sessions, used node epochs.
    epoch: u8,
    owner: u8,
    sealed: u8,
    used: u8,
    /// A session lost its region, or was sealed, that metasrv did not give up.
    cascaded: bool,
    /// Who ever served each epoch.
    served: [u8; EPOCHS],
    restored: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Tick,
    Renew(u8),
    RenewLands(u8),
    Expire,
    Elect(u8),
    Beat(u8, u8),
    Answer(u8),
    Reply(u8),
    Register(u8),
    Fence(u8, u8),
    SealOrdered(u8),
    MarkSealed(u8, u8),
    Grant(u8, u8),
    Report(u8, u8),
    Open(u8),
    GiveBack(u8, u8),
    SealStranger(u8),
    Refuse(u8, u8),
    MeetSeal(u8),
    Restore,
}

impl Lease {
    fn is_without(&self, rule: Without) -> bool {
        self.without == Some(rule)
    }

    /// Whether the member's transactions still count.
    fn leads(&self, state: &State, member: usize) -> bool {
        let member = (member as u8 + 1, state.members[member].term);
        member.1 == LEADS && state.records.leader == member.0 || member.1 != NONE && self.is_without(Without::Guard)
    }

    fn steps_of_a_member(&self, state: &State, number: usize, actions: &mut Vec<Action>) {
        let (m, member) = (number as u8, &state.members[number]);
        if state.records.leader == 0 && m < self.members {
            actions.push(Action::Elect(m));
        }
        if member.term == NONE {
            return;
        }
        match member.renewing {
            None if NOW < member.until => actions.push(Action::Renew(m)),
            None => {}
            Some(_) => actions.push(Action::RenewLands(m)),
        }
        if !self.leads(state, number) {
            return;
        }
        let records = &state.records;
        for session in 0..SESSIONS {
            let s = session as u8;
            let is_dead = NOW >= member.answered[session] + TTL + MARGIN;
            match records.lives[session] {
                Life::Live if is_dead => actions.push(Action::Fence(m, s)),
                Life::Fencing if state.sealed & 1 << s != 0 => actions.push(Action::MarkSealed(m, s)),
                _ => {}
            }
            let is_gone = records.lives[records.owner as usize] == Life::Sealed;
            let may_grant = is_gone || (self.is_without(Without::Report) && !records.is_open);
            let has_room = (member.epoch as usize) + 1 < EPOCHS;
            if may_grant && has_room && s != records.owner && records.lives[session] == Life::Live {
                actions.push(Action::Grant(m, s));
            }
            let order = state.sessions[session].order;
            if records.owner == s && state.sessions[session].serves == records.epoch && !records.is_open {
                actions.push(Action::Report(m, s));
            }
            let is_refused = order != 0 && order <= state.epoch && !self.is_without(Without::HigherEpoch);
            if is_refused && records.owner == s && order == records.epoch && (state.epoch as usize) + 1 < EPOCHS {
                actions.push(Action::Refuse(m, s));
            }
        }
    }

    fn steps_of_a_session(&self, state: &State, number: usize, actions: &mut Vec<Action>) {
        let (s, session) = (number as u8, &state.sessions[number]);
        if session.node_epoch == 0 {
            if s < self.sessions && (0..MEMBERS).any(|member| self.leads(state, member)) {
                actions.push(Action::Register(s));
            }
            return;
        }
        let answers =
            |member: &usize| state.members[*member].term != NONE && state.members[*member].knows & 1 << s != 0;
        let leaders = (0..MEMBERS).filter(answers);
        match session.beat {
            Beat::None => actions.extend(leaders.map(|member| Action::Beat(s, member as u8))),
            Beat::Sent(m, _) => {
                let member = &state.members[m as usize];
                let may_speak = NOW < member.until || self.is_without(Without::SilenceOfTheDeposed);
                if member.term != NONE && may_speak && member.knows & 1 << s != 0 {
                    actions.push(Action::Answer(s));
                }
                // It is lost, or another leader is asked.
                actions.extend(leaders.filter(|member| *member as u8 != m).map(|member| Action::Beat(s, member as u8)));
            }
            Beat::Answered(_) => actions.push(Action::Reply(s)),
        }
        let is_above = session.order > state.epoch || self.is_without(Without::HigherEpoch);
        if session.order != 0 && is_above && state.sealed & 1 << s == 0 {
            if state.owner == s || state.sealed & 1 << state.owner != 0 || self.is_without(Without::SealByOrder) {
                actions.push(Action::Open(s));
            } else {
                // It reports the owner that it found.
                (0..MEMBERS).for_each(|member| self.meet_owner(state, (member, s), actions));
            }
        }
        if session.serves != 0 && state.sealed & 1 << s != 0 {
            actions.push(Action::MeetSeal(s));
        }
        if state.records.lives[number] == Life::Fencing && state.sealed & 1 << s == 0 {
            actions.push(Action::SealOrdered(s));
        }
    }

    /// What a leader does when a claimant found an owner that nobody has sealed.
    fn meet_owner(&self, state: &State, (number, claimant): (usize, u8), actions: &mut Vec<Action>) {
        let (m, member, owner) = (number as u8, &state.members[number], state.owner as usize);
        let order = state.sessions[claimant as usize].order;
        let is_asked = state.records.owner == claimant && state.records.epoch == order;
        if !self.leads(state, number) || !is_asked {
            return;
        }
        let is_dead = NOW >= member.answered[owner] + TTL + MARGIN;
        match state.records.lives[owner] {
            Life::Live if self.is_without(Without::LivingOwner) => actions.push(Action::SealStranger(owner as u8)),
            // One that is dead fails over.
            Life::Live if !is_dead && (order as usize) + 1 < EPOCHS => actions.push(Action::GiveBack(m, claimant)),
            Life::Unknown if is_dead || self.is_without(Without::CountForStrangers) => {
                actions.push(Action::SealStranger(owner as u8));
            }
            _ => {}
        }
    }

    fn take(&self, state: &mut State, action: Action) {
        let now = NOW;
        match action {
            Action::Tick => self.tick(state),
            Action::Renew(m) => state.members[m as usize].renewing = Some(now),
            Action::RenewLands(m) => {
                let member = &mut state.members[m as usize];
                let sent = member.renewing.take().expect("it renews");
                if state.records.leader == m + 1 && member.term == LEADS {
                    state.records.lease_end = now + LEADER;
                    member.until = member.until.max(sent + LEADER);
                }
            }
            Action::Expire => state.records.leader = 0,
            Action::Elect(m) => self.elect(state, m as usize),
            Action::Beat(s, m) => state.sessions[s as usize].beat = Beat::Sent(m, now),
            Action::Answer(s) => {
                let Beat::Sent(m, at) = state.sessions[s as usize].beat else { return };
                state.members[m as usize].answered[s as usize] = now;
                state.sessions[s as usize].beat = Beat::Answered(at);
            }
            Action::Reply(s) => self.reply(state, s as usize),
            Action::Register(s) => self.register(state, s as usize),
            Action::Fence(m, s) => {
                state.records.lives[s as usize] = Life::Fencing;
                state.members[m as usize].knows &= !(1 << s);
            }
            Action::SealOrdered(s) => state.sealed |= 1 << s,
            Action::MarkSealed(_, s) => state.records.lives[s as usize] = Life::Sealed,
            Action::Grant(m, s) => {
                let member = &mut state.members[m as usize];
                let known = if self.is_without(Without::Guard) { member.epoch } else { state.records.epoch };
                state.cascaded |= state.records.lives[state.records.owner as usize] == Life::Live;
                member.epoch = known + 1;
                (state.records.owner, state.records.epoch, state.records.is_open) = (s, known + 1, false);
                state.sessions[s as usize].order = known + 1;
            }
            Action::Report(..) => state.records.is_open = true,
            Action::Open(s) => Self::open(state, s as usize),
            Action::GiveBack(m, s) => {
                let owner = state.owner;
                let epoch = state.sessions[s as usize].order + 1;
                (state.records.owner, state.records.epoch, state.records.is_open) = (owner, epoch, false);
                state.members[m as usize].epoch = epoch;
                state.sessions[s as usize].order = 0;
                state.sessions[owner as usize].order = epoch;
            }
            Action::SealStranger(s) => {
                state.sealed |= 1 << s;
                state.cascaded |= state.records.lives[s as usize] == Life::Live;
            }
            Action::Refuse(m, s) => {
                // The datanode reports the epoch it found; metasrv grants one above.
                state.records.epoch = state.epoch + 1;
                state.members[m as usize].epoch = state.epoch + 1;
                state.sessions[s as usize].order = state.epoch + 1;
            }
            Action::MeetSeal(s) => state.sessions[s as usize].serves = 0,
            Action::Restore => {
                state.restored = true;
                state.records = self.backup();
                state.members = [Member::default(); MEMBERS];
            }
        }
    }

    /// What metasrv knows after a restore; in the backup taken amid a failover the second session is there, too.
    fn backup(&self) -> Records {
        let first = first_records();
        match self.restore {
            Restore::Never | Restore::Old => first,
            Restore::AmidFailover => {
                Records { lives: [Life::Fencing, Life::Live, Life::Unknown], next_node: 3, ..first }
            }
        }
    }

    fn tick(&self, state: &mut State) {
        let age = |time: &mut u8, floor: u8| *time = (*time - 1).max(floor);
        age(&mut state.records.lease_end, NOW);
        for member in &mut state.members {
            age(&mut member.until, NOW);
            if let Some(sent) = &mut member.renewing {
                age(sent, NOW - LEADER);
            }
            for answered in &mut member.answered {
                age(answered, NOW - TTL - MARGIN);
            }
            let is_mute = !self.is_without(Without::SilenceOfTheDeposed) && !self.is_without(Without::Guard);
            if member.term == LED && member.until == NOW && is_mute {
                *member = Member::default();
            }
        }
        for session in &mut state.sessions {
            age(&mut session.until, NOW);
            if let Beat::Sent(_, at) | Beat::Answered(at) = &mut session.beat {
                age(at, NOW - TTL);
                // It would renew nothing any more.
                if *at == NOW - TTL && !self.is_without(Without::LeaseFromSend) {
                    session.beat = Beat::None;
                }
            }
        }
    }

    fn elect(&self, state: &mut State, number: usize) {
        let now = NOW;
        let records = &mut state.records;
        (records.leader, records.lease_end) = (number as u8 + 1, now + LEADER);
        let live = (0..SESSIONS).filter(|session| records.lives[*session] == Life::Live);
        let since = if self.is_without(Without::CountFromElection) { NOW - TTL - MARGIN } else { now };
        for member in &mut state.members {
            member.term = if member.term == NONE { NONE } else { LED };
        }
        state.members[number] = Member {
            term: LEADS,
            until: now + LEADER,
            renewing: None,
            knows: live.fold(0, |all, session| all | 1 << session),
            answered: [since; SESSIONS],
            epoch: records.epoch,
        };
    }

    fn reply(&self, state: &mut State, number: usize) {
        let (now, is_sealed) = (NOW, state.sealed & 1 << number != 0);
        let session = &mut state.sessions[number];
        let Beat::Answered(at) = std::mem::take(&mut session.beat) else { return };
        if now >= session.until && is_sealed && !self.is_without(Without::LookAfterLapse) {
            session.serves = 0;
        }
        let from = if self.is_without(Without::LeaseFromSend) { now } else { at };
        session.until = session.until.max(from + TTL);
    }

    /// The counter gives an epoch; the bucket has the last word on it.
    fn register(&self, state: &mut State, number: usize) {
        let leader = (0..MEMBERS).find(|member| self.leads(state, *member)).expect("somebody leads");
        let mut epoch = state.records.next_node;
        if state.used & 1 << epoch != 0 && !self.is_without(Without::SessionObject) {
            epoch = 8 - state.used.leading_zeros() as u8;
        }
        state.used |= 1 << epoch;
        state.records.next_node = epoch + 1;
        state.records.lives[number] = Life::Live;
        state.sessions[number].node_epoch = epoch;
        state.members[leader].knows |= 1 << number;
        state.members[leader].answered[number] = NOW;
    }

    fn open(state: &mut State, number: usize) {
        let epoch = std::mem::take(&mut state.sessions[number].order);
        let before = state.owner as usize;
        if before != number && state.sealed & 1 << before == 0 {
            state.sealed |= 1 << before;
            state.cascaded |= !matches!(state.records.lives[before], Life::Fencing | Life::Sealed | Life::Unknown);
        }
        (state.epoch, state.owner) = (epoch, number as u8);
        state.sessions[number].serves = epoch;
        state.served[epoch as usize] |= 1 << number;
    }
}

/// At the start: the first session owns the region, the second is not there yet.
fn first_records() -> Records {
    Records {
        leader: 0,
        lease_end: NOW,
        owner: 0,
        epoch: 1,
        is_open: true,
        lives: [Life::Live, Life::Unknown, Life::Unknown],
        next_node: 2,
    }
}

/// I1, fresh: whoever may answer strong reads has the newest epoch.
fn permitted_owners_are_current(_: &Lease, state: &State) -> bool {
    let permitted = state.sessions.iter().filter(|session| session.serves != 0 && NOW < session.until);
    permitted.into_iter().all(|session| session.serves == state.epoch)
}

/// I5.
fn one_session_serves_an_epoch(_: &Lease, state: &State) -> bool {
    state.served.iter().all(|sessions| sessions.count_ones() <= 1)
}

/// I13.
fn node_epochs_are_used_once(_: &Lease, state: &State) -> bool {
    let mut epochs =
        state.sessions.iter().map(|session| session.node_epoch).filter(|epoch| *epoch != 0).collect::<Vec<_>>();
    let count = epochs.len();
    epochs.sort_unstable();
    epochs.dedup();
    epochs.len() == count
}

/// Who is given up has no lease any more: availability, but also what fresh reads rest on.
fn only_sessions_without_a_lease_are_given_up(_: &Lease, state: &State) -> bool {
    let lives = state.records.lives.iter().zip(&state.sessions);
    let gone = lives.filter(|(life, _)| matches!(life, Life::Fencing | Life::Sealed));
    gone.into_iter().all(|(_, session)| NOW >= session.until)
}

fn a_region_moves_twice(_: &Lease, state: &State) -> bool {
    state.epoch > 2
}

impl Model for Lease {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut state = State {
            records: first_records(),
            members: [Member::default(); MEMBERS],
            sessions: [Session::default(); SESSIONS],
            epoch: 1,
            owner: 0,
            sealed: 0,
            used: 0b10,
            cascaded: false,
            served: [0; EPOCHS],
            restored: false,
        };
        state.served[1] = 1;
        state.sessions[0] = Session { node_epoch: 1, until: NOW + TTL, serves: 1, ..Session::default() };
        self.elect(&mut state, 0);
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.push(Action::Tick);
        if state.records.leader != 0 && NOW >= state.records.lease_end {
            actions.push(Action::Expire);
        }
        for member in 0..MEMBERS {
            self.steps_of_a_member(state, member, actions);
        }
        for session in 0..SESSIONS {
            self.steps_of_a_session(state, session, actions);
        }
        let is_later = match self.restore {
            Restore::Never => false,
            Restore::Old => true,
            // The second session was the second to come, and the backup knows it.
            Restore::AmidFailover => {
                matches!(state.records.lives[0], Life::Fencing | Life::Sealed) && state.sessions[1].node_epoch == 2
            }
        };
        if is_later && !state.restored {
            actions.push(Action::Restore);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        self.take(&mut next, action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::<Self>::always("I1 permitted owners are current", permitted_owners_are_current),
            Property::<Self>::always("I5 one session serves an epoch", one_session_serves_an_epoch),
            Property::<Self>::always("I13 node epochs are used once", node_epochs_are_used_once),
            Property::<Self>::always("nobody with a lease is given up", only_sessions_without_a_lease_are_given_up),
            Property::<Self>::always("nobody who lives is robbed", |_, state| !state.cascaded),
        ];
        if self.without.is_none() {
            properties.push(Property::<Self>::sometimes("a region moves", |_, state| {
                state.epoch > 1 && state.records.is_open
            }));
        }
        if self.without.is_none() && self.sessions > 2 {
            properties.push(Property::<Self>::sometimes("a region moves twice", a_region_moves_twice));
        }
        properties
    }
}

#[test]
fn one_session_answers_for_a_region() {
    match bounds() {
        Bounds::Small => holds("lease", Lease { members: 2, sessions: 2, restore: Restore::Never, without: None }),
        Bounds::Full => holds("lease", Lease { members: 1, sessions: 3, restore: Restore::Never, without: None }),
    }
}

#[test]
fn a_restored_backup_revives_nobody() {
    match bounds() {
        Bounds::Small => {
            holds("lease, restore", Lease { members: 2, sessions: 2, restore: Restore::Old, without: None });
        }
        Bounds::Full => {
            holds("lease, restore", Lease { members: 1, sessions: 3, restore: Restore::Old, without: None });
        }
    }
}

#[test]
fn a_backup_amid_a_failover_ends_nobody_who_lives() {
    // It takes three sessions and two moves: millions of states.
    if bounds() == Bounds::Full {
        let lease = Lease { members: 1, sessions: 3, restore: Restore::AmidFailover, without: None };
        holds("lease, restore amid a failover", lease);
    }
}

#[test]
fn every_rule_of_the_lease_is_needed() {
    for (without, members, sessions, restore) in [
        (Without::SilenceOfTheDeposed, 2, 2, Restore::Never),
        (Without::Report, 1, 3, Restore::Never),
        (Without::Guard, 2, 3, Restore::Never),
        (Without::LeaseFromSend, 1, 2, Restore::Never),
        (Without::CountFromElection, 2, 2, Restore::Never),
        (Without::SessionObject, 1, 3, Restore::Old),
        (Without::LookAfterLapse, 1, 2, Restore::Old),
        (Without::HigherEpoch, 1, 3, Restore::Old),
        (Without::SealByOrder, 1, 3, Restore::AmidFailover),
        (Without::CountForStrangers, 1, 3, Restore::AmidFailover),
        (Without::LivingOwner, 1, 3, Restore::AmidFailover),
    ] {
        // They take two moves around a restore: millions of states.
        let is_large = matches!(without, Without::HigherEpoch | Without::CountForStrangers | Without::LivingOwner);
        if is_large && bounds() == Bounds::Small {
            continue;
        }
        breaks(&format!("lease without {without:?}"), Lease { members, sessions, restore, without: Some(without) });
    }
}
