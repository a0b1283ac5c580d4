//! How long the session may be used: what beats granted, once its log was looked at.
//!
//! While the lease is over, others may end the session and take its regions.
//! Metadata restored from a backup that is older than that would grant the
//! lease again, and the session would answer reads without its successors'
//! rows until its next write met their SEAL. So a lease that begins, or begins
//! again, counts only after a look at the log (model C, docs/models.md).

use std::time::Duration;

#[cfg(test)]
mod tests;

/// The lease of a session. Instants are of the boot clock.
#[derive(Debug, Default)]
pub(super) struct Lease {
    /// Until when beats granted it.
    until: Duration,
    /// Counts the times it began: a look belongs to one.
    beginning: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Unknown,
    Looking,
    Counts,
}

/// What is to be done after a beat was answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The session may be used until then.
    Use(Duration),
    /// Look at the log, and tell the outcome with this number.
    Look(u64),
    /// A look is on its way.
    Wait,
}

impl Lease {
    /// A beat granted the lease until `until`.
    pub(super) fn granted(&mut self, now: Duration, until: Duration) -> Step {
        if now >= self.until {
            self.beginning += 1;
            self.state = State::Unknown;
        }
        self.until = self.until.max(until);
        match self.state {
            State::Counts => Step::Use(self.until),
            State::Looking => Step::Wait,
            State::Unknown => {
                self.state = State::Looking;
                Step::Look(self.beginning)
            }
        }
    }

    /// A look is over: nobody had ended the session, or that is not known. Until when the session may be used.
    pub(super) fn looked(&mut self, beginning: u64, is_alive: bool) -> Option<Duration> {
        if beginning != self.beginning {
            return None;
        }
        self.state = if is_alive { State::Counts } else { State::Unknown };
        is_alive.then_some(self.until)
    }

    /// Whether the session was usable since the lease began last.
    pub(super) fn counts(&self) -> bool {
        self.state == State::Counts
    }
}
