//! Model D: the log on the local disk. Write, sync, kill, power cut, replay, a retry with its token.
//!
//! A kill leaves the page cache, a power cut does not. One group is written at a
//! time, so the cache may hold one group more than the disk. The client sends
//! each row again until it is acknowledged.

use stateright::{Model, Property};

use crate::{breaks, holds};

const ROWS: u8 = 3;

/// A rule that is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    /// What replay reads may be in the page cache only.
    SyncOnOpen,
    SyncBeforeAck,
    /// A second request with the token of a row that is on its way is acknowledged at once.
    PendingToken,
}

#[derive(Clone, Debug)]
struct Local {
    without: Option<Without>,
    stops: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Process {
    Down,
    Open,
}

/// Rows are numbers in order; each field says how many of the first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    process: Process,
    /// On the disk.
    synced: u8,
    /// In the page cache.
    written: u8,
    /// Known to the process as durable, with their tokens.
    durable: u8,
    acked: u8,
    stops: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Write,
    Sync,
    Ack,
    Retry,
    Kill,
    PowerCut,
    Start,
}

impl Model for Local {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State { process: Process::Open, synced: 0, written: 0, durable: 0, acked: 0, stops: 0 }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.process == Process::Down {
            return actions.push(Action::Start);
        }
        if state.written < ROWS && state.written == state.durable {
            actions.push(Action::Write);
        }
        if state.written > state.durable {
            actions.push(Action::Sync);
            // A retry finds its token pending.
            actions.push(Action::Retry);
        }
        if state.durable > state.acked {
            actions.push(Action::Ack);
        }
        if state.stops < self.stops {
            actions.extend([Action::Kill, Action::PowerCut]);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        match action {
            Action::Write => {
                next.written += 1;
                if self.without == Some(Without::SyncBeforeAck) {
                    next.durable = next.written;
                }
            }
            Action::Sync => (next.synced, next.durable) = (next.written, next.written),
            Action::Ack => next.acked += 1,
            // It waits with the first request.
            Action::Retry if self.without != Some(Without::PendingToken) => return None,
            Action::Retry => next.acked = next.written,
            Action::Kill => (next.process, next.durable, next.stops) = (Process::Down, 0, state.stops + 1),
            Action::PowerCut => {
                (next.process, next.durable, next.stops) = (Process::Down, 0, state.stops + 1);
                next.written = state.synced;
            }
            Action::Start => {
                if self.without != Some(Without::SyncOnOpen) {
                    next.synced = next.written;
                }
                (next.process, next.durable) = (Process::Open, next.written);
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::<Self>::always("I1 acked rows are on the disk", |_, state| state.acked <= state.synced),
            Property::<Self>::sometimes("all rows are acked after a power cut", |_, state| {
                state.acked == ROWS && state.stops > 0
            }),
        ]
    }
}

#[test]
fn the_local_log_keeps_what_it_acknowledged() {
    holds("local", Local { without: None, stops: 3 });
}

#[test]
fn every_rule_of_the_local_log_is_needed() {
    for without in [Without::SyncOnOpen, Without::SyncBeforeAck, Without::PendingToken] {
        breaks(&format!("local without {without:?}"), Local { without: Some(without), stops: 3 });
    }
}
