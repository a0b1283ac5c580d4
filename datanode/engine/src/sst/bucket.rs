//! Time buckets: files hold one each, so that time prunes files and series stay long runs.

use varve_model::time::{TimeRange, TimeUnit};

use super::meta::Bucket;

/// Hours of a young file's bucket.
pub const YOUNG_HOURS: i64 = 4;
/// Hours of the final order's bucket.
pub const FINAL_HOURS: i64 = 24;

/// Length of a bucket of so many hours in the table's unit.
pub fn width(hours: i64, unit: TimeUnit) -> i64 {
    hours * 3600 * unit.per_second()
}

/// Number of the bucket that holds a timestamp.
pub fn number(ts: i64, width: i64) -> i64 {
    ts.div_euclid(width)
}

/// A bucket by its number. At the end of i64 the first timestamp is cut to fit.
pub fn bucket(number: i64, width: i64) -> Bucket {
    Bucket { start: number.saturating_mul(width), width }
}

impl Bucket {
    /// The timestamps inside. A bucket that begins at the first i64 is cut: its real start has no name.
    pub fn time(self) -> TimeRange {
        let number = number(self.start, self.width);
        let end = number.saturating_add(1).checked_mul(self.width).map_or(i64::MAX, |next| next - 1);
        TimeRange { start: self.start, end }
    }
}
