//! Planted bugs, so that the tests can be tested: each must be found by the layer that claims to.
//!
//! Without the feature `seeded-bugs` nothing here exists at run time.

use varve_model::{Error, Result};

/// A bug that can be switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A group is confirmed before its sync.
    AckBeforeFdatasync,
    /// Replay skips the first block above the flushed sequence.
    ReplayOffByOne,
    /// The tail is copied at open but not synced.
    NoSyncOnOpen,
    /// A token counts as done while its rows are still on the way to the disk.
    TokenAckedWhilePending,
    /// Files are pruned by value statistics below the merge.
    ValuePruningBeforeMerge,
    /// A lane counts as sealed without a second listing.
    NoSealRelist,
    /// Only the lane that is used gets a SEAL.
    SealUsedLanesOnly,
    /// A slot that is taken counts as written.
    TakenIsSuccess,
    /// A block is confirmed before its PUT.
    AckBeforePut,
    /// Log objects are trimmed when they are confirmed, not when their rows are in files.
    TrimOnAck,
    /// The writer trims the newest object of its lane, too.
    TrimNewestObject,
    /// A slot whose outcome is unknown gets another body.
    SecondBody,
}

impl std::str::FromStr for Bug {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "ack-before-fdatasync" => Ok(Self::AckBeforeFdatasync),
            "replay-off-by-one" => Ok(Self::ReplayOffByOne),
            "no-sync-on-open" => Ok(Self::NoSyncOnOpen),
            "token-acked-while-pending" => Ok(Self::TokenAckedWhilePending),
            "value-pruning-before-merge" => Ok(Self::ValuePruningBeforeMerge),
            "no-seal-relist" => Ok(Self::NoSealRelist),
            "seal-used-lanes-only" => Ok(Self::SealUsedLanesOnly),
            "taken-is-success" => Ok(Self::TakenIsSuccess),
            "ack-before-put" => Ok(Self::AckBeforePut),
            "trim-on-ack" => Ok(Self::TrimOnAck),
            "trim-newest-object" => Ok(Self::TrimNewestObject),
            "second-body" => Ok(Self::SecondBody),
            _ => Err(Error::invalid(format!("unknown planted bug '{name}'"))),
        }
    }
}

/// Whether this bug is switched on, by [`set`] or by `VARVE_BUG`.
#[cfg(feature = "seeded-bugs")]
pub fn is(bug: Bug) -> bool {
    active() == Some(bug)
}

/// Never: the feature is off.
#[cfg(not(feature = "seeded-bugs"))]
#[inline]
pub fn is(_bug: Bug) -> bool {
    false
}

#[cfg(feature = "seeded-bugs")]
thread_local! {
    static CHOSEN: std::cell::Cell<Choice> = const { std::cell::Cell::new(Choice::Environment) };
}

#[cfg(feature = "seeded-bugs")]
#[derive(Clone, Copy)]
enum Choice {
    Environment,
    Here(Option<Bug>),
}

#[cfg(feature = "seeded-bugs")]
fn active() -> Option<Bug> {
    match CHOSEN.get() {
        Choice::Here(bug) => bug,
        Choice::Environment => {
            static ENVIRONMENT: std::sync::LazyLock<Option<Bug>> =
                std::sync::LazyLock::new(|| std::env::var("VARVE_BUG").ok().and_then(|name| name.parse().ok()));
            *ENVIRONMENT
        }
    }
}

/// Switches a bug on for this thread: a simulation runs in one.
#[cfg(feature = "seeded-bugs")]
pub fn set(bug: Option<Bug>) {
    CHOSEN.set(Choice::Here(bug));
}
