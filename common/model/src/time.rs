//! Timestamps: a count of units since the epoch, and closed ranges of them.

use serde::{Deserialize, Serialize};

/// The unit of a table's time index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeUnit {
    /// Seconds.
    Second,
    /// Milliseconds.
    Millisecond,
    /// Microseconds.
    Microsecond,
    /// Nanoseconds.
    Nanosecond,
}

impl TimeUnit {
    /// Units per second.
    pub fn per_second(self) -> i64 {
        match self {
            Self::Second => 1,
            Self::Millisecond => 1_000,
            Self::Microsecond => 1_000_000,
            Self::Nanosecond => 1_000_000_000,
        }
    }

    /// Converts a count of `self` to a count of `to`, rounding towards negative
    /// infinity; `None` when the result does not fit an i64.
    pub fn convert(self, value: i64, to: Self) -> Option<i64> {
        let (from, to) = (self.per_second(), to.per_second());
        if to >= from { value.checked_mul(to / from) } else { Some(value.div_euclid(from / to)) }
    }
}

/// A closed range of timestamps in a table's unit. Closed, so that both ends of i64 can be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeRange {
    /// First timestamp inside.
    pub start: i64,
    /// Last timestamp inside.
    pub end: i64,
}

impl TimeRange {
    /// All of time.
    pub const ALL: Self = Self { start: i64::MIN, end: i64::MAX };
    /// No timestamp at all.
    pub const EMPTY: Self = Self { start: i64::MAX, end: i64::MIN };

    /// Whether no timestamp is inside.
    pub fn is_empty(self) -> bool {
        self.start > self.end
    }

    /// Whether `ts` is inside.
    pub fn contains(self, ts: i64) -> bool {
        self.start <= ts && ts <= self.end
    }

    /// Whether the two share a timestamp.
    pub fn overlaps(self, other: Self) -> bool {
        !self.is_empty() && !other.is_empty() && self.start <= other.end && other.start <= self.end
    }

    /// What is inside both.
    pub fn intersect(self, other: Self) -> Self {
        Self { start: self.start.max(other.start), end: self.end.min(other.end) }
    }

    /// The smallest range that holds both.
    pub fn union(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// Widens the range to hold `ts`.
    pub fn include(&mut self, ts: i64) {
        self.start = self.start.min(ts);
        self.end = self.end.max(ts);
    }
}
