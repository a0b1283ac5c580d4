//! Model E: a file that another region, a clone or a backup comes to need while its owner removes it.
//!
//! One file, one referrer, two owners in turn of which the first may be a
//! zombie. What was sent may land at any later time.

use stateright::{Model, Property};

use crate::{breaks, holds};

const OWNERS: usize = 2;

/// A rule that is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    /// The owner looks for references before it deletes.
    Listing,
    /// It looks after the commit that removed the file, not before.
    ListingAfterCommit,
    /// The referrer reads the head again behind its reference.
    SecondLook,
    /// The referrer waits until its reference is there.
    ReadBack,
}

#[derive(Clone, Debug)]
struct References {
    without: Option<Without>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Referrer {
    #[default]
    Idle,
    /// It read a head that names the file.
    Read,
    /// Its PUT is on the way.
    Sent,
    /// Its reference is there.
    Landed,
    /// It committed what uses the file.
    Uses,
    Over,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Owner {
    /// It knows that the head does not name the file.
    garbage: bool,
    /// What its listing showed.
    listed: Option<bool>,
    /// Its DELETE is on the way.
    deletes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct State {
    named: bool,
    stored: bool,
    reference: bool,
    head_owner: u8,
    owners: [Owner; OWNERS],
    referrer: Referrer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Claim,
    Remove(u8),
    Orphans(u8),
    List(u8),
    Delete(u8),
    LookAgain(u8),
    LandDelete(u8),
    Read,
    Send,
    LandReference,
    Check,
    Release,
}

impl References {
    fn is_without(&self, rule: Without) -> bool {
        self.without == Some(rule)
    }

    fn steps_of(&self, state: &State, number: u8, actions: &mut Vec<Action>) {
        let owner = &state.owners[number as usize];
        let is_current = state.head_owner == number;
        if is_current && state.named {
            actions.push(Action::Remove(number));
        }
        // An older owner removed it and went away.
        if is_current && number > 0 && !state.named && !owner.garbage {
            actions.push(Action::Orphans(number));
        }
        let may_list = owner.garbage || (is_current && self.is_without(Without::ListingAfterCommit));
        if may_list && owner.listed.is_none() {
            actions.push(Action::List(number));
        }
        match owner.listed {
            _ if !owner.garbage || owner.deletes => {}
            Some(true) => actions.push(Action::LookAgain(number)),
            Some(false) => actions.push(Action::Delete(number)),
            None if self.is_without(Without::Listing) => actions.push(Action::Delete(number)),
            None => {}
        }
        if owner.deletes && state.stored {
            actions.push(Action::LandDelete(number));
        }
    }

    fn take(&self, state: &mut State, action: Action) {
        match action {
            Action::Claim => state.head_owner = 1,
            Action::Remove(o) => {
                state.named = false;
                state.owners[o as usize].garbage = true;
            }
            Action::Orphans(o) => state.owners[o as usize].garbage = true,
            Action::List(o) => state.owners[o as usize].listed = Some(state.reference),
            Action::LookAgain(o) => state.owners[o as usize].listed = None,
            Action::Delete(o) => state.owners[o as usize].deletes = true,
            Action::LandDelete(_) => state.stored = false,
            Action::Read => state.referrer = Referrer::Read,
            Action::Send => state.referrer = Referrer::Sent,
            Action::LandReference => {
                state.reference = true;
                if state.referrer == Referrer::Sent {
                    state.referrer = Referrer::Landed;
                }
            }
            Action::Check if state.named || self.is_without(Without::SecondLook) => state.referrer = Referrer::Uses,
            Action::Check | Action::Release => {
                (state.referrer, state.reference) = (Referrer::Over, false);
            }
        }
    }
}

impl Model for References {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            named: true,
            stored: true,
            reference: false,
            head_owner: 0,
            owners: [Owner::default(); OWNERS],
            referrer: Referrer::Idle,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.head_owner == 0 {
            actions.push(Action::Claim);
        }
        for number in 0..OWNERS as u8 {
            self.steps_of(state, number, actions);
        }
        match state.referrer {
            Referrer::Idle if state.named => actions.push(Action::Read),
            Referrer::Read => actions.push(Action::Send),
            Referrer::Sent if self.is_without(Without::ReadBack) => {
                actions.extend([Action::LandReference, Action::Check]);
            }
            Referrer::Sent => actions.push(Action::LandReference),
            Referrer::Landed => actions.push(Action::Check),
            Referrer::Uses if !state.reference => actions.push(Action::LandReference),
            Referrer::Uses => actions.push(Action::Release),
            Referrer::Idle | Referrer::Over => {}
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = *state;
        self.take(&mut next, action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![Property::<Self>::always("I9 a file that is referred to exists", |_, state| {
            state.stored || state.referrer != Referrer::Uses
        })];
        if self.without.is_none() {
            properties.push(Property::<Self>::sometimes("a removed file is kept", |_, state| {
                !state.named && state.referrer == Referrer::Uses && state.owners[1].listed == Some(true)
            }));
            properties.push(Property::<Self>::sometimes("a file goes when its reference went", |_, state| {
                !state.stored && state.referrer == Referrer::Over
            }));
        }
        properties
    }
}

#[test]
fn a_file_exists_as_long_as_somebody_refers_to_it() {
    holds("references", References { without: None });
}

#[test]
fn every_rule_of_references_is_needed() {
    for without in [Without::Listing, Without::ListingAfterCommit, Without::SecondLook, Without::ReadBack] {
        breaks(&format!("references without {without:?}"), References { without: Some(without) });
    }
}
