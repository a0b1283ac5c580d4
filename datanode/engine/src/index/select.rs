//! Matchers to series: the exact meaning of `model::matcher` over dictionaries and postings.
//!
//! A condition is tried once per distinct value, never per series.

use regex::Regex;
use roaring::RoaringBitmap;
use varve_model::matcher::{MatchOp, Matcher, MissingTag};
use varve_model::{Error, Reason, Result};

use super::tag::TagIndex;

/// The series out of `0..series` that satisfy one matcher. `tag` is `None` when no series has the tag.
pub(super) fn matching(matcher: &Matcher, tag: Option<&TagIndex>, series: u32) -> Result<RoaringBitmap> {
    let absent = || {
        let mut all = RoaringBitmap::from_sorted_iter(0..series).expect("a range is sorted");
        if let Some(tag) = tag {
            all -= tag.present();
        }
        all
    };
    match matcher.op {
        MatchOp::IsNull => return Ok(absent()),
        MatchOp::IsNotNull => return Ok(tag.map(|tag| tag.present().clone()).unwrap_or_default()),
        _ => {}
    }
    let condition = Condition::compile(&matcher.op)?;
    let mut ids = tag.map(|tag| tag.with_codes(&condition.codes(tag))).unwrap_or_default();
    if matcher.missing == MissingTag::Empty && condition.holds("") {
        ids |= absent();
    }
    Ok(ids)
}

/// A condition ready to be tried on values.
enum Condition<'a> {
    In(&'a [String]),
    NotIn(&'a [String]),
    Regex { regex: Box<Regex>, negate: bool },
    Between { low: Option<&'a (String, bool)>, high: Option<&'a (String, bool)> },
}

impl<'a> Condition<'a> {
    fn compile(op: &'a MatchOp) -> Result<Self> {
        Ok(match op {
            MatchOp::In(values) => Self::In(values),
            MatchOp::NotIn(values) => Self::NotIn(values),
            MatchOp::Regex(text) => Self::Regex { regex: Box::new(anchored(text)?), negate: false },
            MatchOp::NotRegex(text) => Self::Regex { regex: Box::new(anchored(text)?), negate: true },
            MatchOp::Between { low, high } => Self::Between { low: low.as_ref(), high: high.as_ref() },
            MatchOp::IsNull | MatchOp::IsNotNull => unreachable!("answered from presence alone"),
        })
    }

    fn holds(&self, value: &str) -> bool {
        match self {
            Self::In(values) => values.iter().any(|other| other == value),
            Self::NotIn(values) => values.iter().all(|other| other != value),
            Self::Regex { regex, negate } => regex.is_match(value) != *negate,
            Self::Between { low, high } => {
                low.is_none_or(|(bound, inside)| value > bound.as_str() || (*inside && value == bound))
                    && high.is_none_or(|(bound, inside)| value < bound.as_str() || (*inside && value == bound))
            }
        }
    }

    /// Codes of the values for which it holds, each once.
    fn codes(&self, tag: &TagIndex) -> Vec<u32> {
        if let Self::In(values) = self {
            let mut codes = values.iter().filter_map(|value| tag.code(value.as_bytes())).collect::<Vec<_>>();
            codes.sort_unstable();
            codes.dedup();
            return codes;
        }
        (0..tag.values()).filter(|&code| self.holds(tag.text(code))).collect()
    }
}

/// The regex that matches a whole value.
fn anchored(text: &str) -> Result<Regex> {
    let bad = |error: regex::Error| {
        Error::invalid(format!("invalid regular expression '{text}'"))
            .with_reason(Reason::BadValue)
            .with_hint(error.to_string())
    };
    // Alone first: a stray parenthesis must not pair with ours.
    Regex::new(text).map_err(bad)?;
    Regex::new(&format!("\\A(?:{text})\\z")).map_err(bad)
}
