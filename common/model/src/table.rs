//! A table as metasrv knows it: name, schema, options, partition.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Reason, Result};
use crate::id::{DatabaseId, Incarnation, RegionId, TableId};
use crate::partition::Partition;
use crate::schema::Schema;
use crate::schema::reserved::Requirement;

/// What happens to rows of the same series and timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MergeMode {
    /// All are kept.
    Append,
    /// The newest row wins.
    #[default]
    LastRow,
    /// Per field the newest non-null value wins.
    LastNonNull,
}

/// Options of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableOptions {
    /// How rows of one key merge.
    #[serde(default)]
    pub merge_mode: MergeMode,
    /// Rows older than this are not read; `None` inherits the database's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Ttl>,
    /// The user's comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// How long rows live, counted from their timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ttl {
    /// For ever.
    Forever,
    /// For this long.
    For(Duration),
}

impl Ttl {
    /// Parses `7d`, `1h 12min`, `forever`, `` and `0s` (both: never expires).
    /// Months are 30.44 days, years 365.25 days. Errors: `InvalidRequest`.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.is_empty() || text.eq_ignore_ascii_case("forever") || text.eq_ignore_ascii_case("null") {
            return Ok(Self::Forever);
        }
        let duration = parse_duration(text)
            .ok_or_else(|| Error::invalid(format!("invalid ttl '{text}'")).with_reason(Reason::BadValue))?;
        Ok(if duration.is_zero() { Self::Forever } else { Self::For(duration) })
    }

    /// The duration, unless for ever.
    pub fn duration(self) -> Option<Duration> {
        match self {
            Self::Forever => None,
            Self::For(duration) => Some(duration),
        }
    }
}

/// Parses sums of `<integer><unit>`; units as humantime has them.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let count: u64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let letters = rest.len() - rest.trim_start_matches(|c: char| c.is_alphabetic()).len();
        let nanos_per_unit: u128 = match &rest[..letters] {
            "ns" | "nsec" | "nanos" => 1,
            "us" | "usec" | "µs" | "micros" => 1_000,
            "ms" | "msec" | "millis" => 1_000_000,
            "s" | "sec" | "secs" | "second" | "seconds" => 1_000_000_000,
            "m" | "min" | "mins" | "minute" | "minutes" => 60_000_000_000,
            "h" | "hr" | "hour" | "hours" => 3_600_000_000_000,
            "d" | "day" | "days" => 86_400_000_000_000,
            "w" | "week" | "weeks" => 7 * 86_400_000_000_000,
            "M" | "month" | "months" => 2_630_016_000_000_000,
            "y" | "year" | "years" => 31_557_600_000_000_000,
            _ => return None,
        };
        let nanos = u128::from(count).checked_mul(nanos_per_unit)?;
        let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
        total = total.checked_add(Duration::new(seconds, (nanos % 1_000_000_000) as u32))?;
        rest = rest[letters..].trim_start();
    }
    Some(total)
}

/// A database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseInfo {
    /// Never reused.
    pub id: DatabaseId,
    /// Unique name.
    pub name: String,
    /// Inherited by tables without their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Ttl>,
    /// Regions of automatically created tables.
    pub regions: u32,
}

/// A table, complete: what frontends plan with and datanodes open regions with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableInfo {
    /// Never reused.
    pub id: TableId,
    /// The database it is in.
    pub database: DatabaseId,
    /// Name within the database.
    pub name: String,
    /// Tells this life from another of the same id (an etcd restored from a backup).
    pub incarnation: Incarnation,
    /// Columns.
    pub schema: Schema,
    /// Options.
    pub options: TableOptions,
    /// How rows are spread over regions.
    pub partition: Partition,
    /// Milliseconds since the epoch.
    pub created_ms: i64,
    /// Reserved: what a reader must know beyond the fields above. Refused unless empty, so that a later meaning of
    /// the table's options, columns or partition is never passed over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<Requirement>,
}

impl TableInfo {
    /// Ids of its regions, in partition order.
    pub fn regions(&self) -> impl Iterator<Item = RegionId> + '_ {
        self.partition.ranges.iter().map(|range| RegionId::new(self.id, range.region))
    }
}

#[cfg(test)]
mod tests;
