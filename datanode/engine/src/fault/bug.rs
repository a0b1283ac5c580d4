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
    /// A session counts as sealed though no SEAL was put.
    NoSeal,
    /// A lane counts as sealed without a second listing.
    NoSealRelist,
    /// Only the lane that is used gets a SEAL.
    SealUsedLanesOnly,
    /// The SEALs of a dead session go with its data.
    SealDeleted,
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
    /// A claim names its own session only: nobody replays what earlier owners did not flush.
    ClaimIgnoresSources,
    /// A claim ends the owner before it, though that one may be alive and answer reads.
    ClaimantSeals,
    /// Manifest versions are collected without a boundary.
    NoBoundary,
    /// Orphans are looked for among files of any epoch, those of a newer owner included.
    OrphansOfAnyEpoch,
    /// Files are deleted under their readers.
    GcIgnoresPins,
    /// Files that others refer to are deleted.
    GcIgnoresReferences,
    /// A compaction drops deletes that files outside it still need.
    TombstoneDroppedEarly,
    /// A compaction gives its rows a newer sequence.
    CompactionRaisesSequence,
    /// The memtable is still read when its rows are in files.
    MemtableReadTwice,
    /// The next owner knows no token of the owners before it.
    TokenWindowLost,
    /// Reads are answered without a permit.
    ReadWithoutPermit,
    /// The lease counts from the reply of a beat, not from its send.
    LeaseFromReply,
    /// A lease that had lapsed is renewed without a look at the own log.
    NoLookAfterLapse,
    /// Transactions of metasrv do not compare the leader. It stands in the simulation's store: the seam is enough.
    NoLeaderGuard,
}

impl Bug {
    /// All of them, with the names that `VARVE_BUG` takes.
    pub const ALL: [(Self, &'static str); 28] = [
        (Self::AckBeforeFdatasync, "ack-before-fdatasync"),
        (Self::ReplayOffByOne, "replay-off-by-one"),
        (Self::NoSyncOnOpen, "no-sync-on-open"),
        (Self::TokenAckedWhilePending, "token-acked-while-pending"),
        (Self::ValuePruningBeforeMerge, "value-pruning-before-merge"),
        (Self::NoSeal, "no-seal"),
        (Self::NoSealRelist, "no-seal-relist"),
        (Self::SealUsedLanesOnly, "seal-used-lanes-only"),
        (Self::SealDeleted, "seal-deleted"),
        (Self::TakenIsSuccess, "taken-is-success"),
        (Self::AckBeforePut, "ack-before-put"),
        (Self::TrimOnAck, "trim-on-ack"),
        (Self::TrimNewestObject, "trim-newest-object"),
        (Self::SecondBody, "second-body"),
        (Self::ClaimIgnoresSources, "claim-ignores-sources"),
        (Self::ClaimantSeals, "claimant-seals"),
        (Self::NoBoundary, "no-boundary"),
        (Self::OrphansOfAnyEpoch, "orphans-of-any-epoch"),
        (Self::GcIgnoresPins, "gc-ignores-pins"),
        (Self::GcIgnoresReferences, "gc-ignores-references"),
        (Self::TombstoneDroppedEarly, "tombstone-dropped-early"),
        (Self::CompactionRaisesSequence, "compaction-raises-sequence"),
        (Self::MemtableReadTwice, "memtable-read-twice"),
        (Self::TokenWindowLost, "token-window-lost"),
        (Self::ReadWithoutPermit, "read-without-permit"),
        (Self::LeaseFromReply, "lease-from-reply"),
        (Self::NoLookAfterLapse, "no-look-after-lapse"),
        (Self::NoLeaderGuard, "no-leader-guard"),
    ];

    /// The name that `VARVE_BUG` takes.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(bug, _)| *bug == self).map_or("unnamed", |(_, name)| name)
    }
}

impl std::str::FromStr for Bug {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.iter().find(|(_, known)| *known == name);
        found.map(|(bug, _)| *bug).ok_or_else(|| Error::invalid(format!("unknown planted bug '{name}'")))
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
