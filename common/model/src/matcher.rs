//! Tag matchers: which series a scan or a delete concerns.
//!
//! PromQL and SQL differ in one point only: what a missing tag means. A matcher
//! says it, so that the series index answers both exactly.

use serde::{Deserialize, Serialize};

/// A condition on one tag.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Matcher {
    /// Tag name.
    pub tag: String,
    /// The condition.
    pub op: MatchOp,
    /// What a series without the tag means.
    pub missing: MissingTag,
}

/// What the tag's value must satisfy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatchOp {
    /// Equals one of these values.
    In(Vec<String>),
    /// Equals none of these values.
    NotIn(Vec<String>),
    /// Matches the regex as a whole (syntax of crate `regex`).
    Regex(String),
    /// Does not match the regex as a whole.
    NotRegex(String),
    /// Lies between the bounds, byte-wise; a bound is the value and whether it is inside.
    Between {
        /// Lower bound.
        low: Option<(String, bool)>,
        /// Upper bound.
        high: Option<(String, bool)>,
    },
    /// The tag is missing.
    IsNull,
    /// The tag is present.
    IsNotNull,
}

/// What a series without the tag means to every condition but the two about NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissingTag {
    /// The empty string (Prometheus).
    Empty,
    /// Unknown, so that no condition holds (SQL).
    Unknown,
}
