//! When the server misbehaves, and how.

use std::ops::Range;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// PutObject and CompleteMultipartUpload.
    Put,
    /// GetObject.
    Get,
    /// HeadObject.
    Head,
    /// ListObjectsV2.
    List,
    /// DeleteObject.
    Delete,
    /// DeleteObjects.
    BulkDelete,
}

/// A misbehaviour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 503 SlowDown, nothing done.
    SlowDown,
    /// 500, nothing done.
    ErrorBefore,
    /// Done, then 500.
    ErrorAfter,
    /// Done, then no answer for so long.
    LostReply(Duration),
    /// No answer for so long; done afterwards.
    LateEffect(Duration),
    /// 409, nothing done.
    Conflict,
    /// Answers after so long.
    Stall(Duration),
    /// 403, nothing done.
    Forbidden,
    /// A body that ends half way.
    Truncate,
    /// A body with one bit flipped.
    FlipBit,
    /// A body of so many bytes per second.
    Trickle(usize),
    /// Part of an object under the name of another part.
    WrongRange,
    /// Conditions are ignored: a create overwrites.
    IgnoreConditions,
    /// 501, as a server without it.
    NotImplemented,
    /// Objects of the last put are missing.
    StaleList,
}

/// Applies to requests it matches, some of them.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The operation; `None`: any.
    pub operation: Option<Operation>,
    /// Keys that contain this text, whose parts between stars follow each other.
    pub key: String,
    /// Requests that were signed with this access key, as if it had expired; `None`: with any.
    pub signed_with: Option<String>,
    /// When it is in force, counted from its addition.
    pub time: Range<Duration>,
    /// Matching requests that pass unharmed first.
    pub skip: u64,
    /// Then so many are harmed.
    pub times: u64,
    /// Share of those that are, in percent.
    pub percent: u32,
    /// How.
    pub fault: Fault,
}

impl Rule {
    /// Every request of this operation.
    pub fn always(operation: Operation, fault: Fault) -> Self {
        Self {
            operation: Some(operation),
            key: String::new(),
            signed_with: None,
            time: Duration::ZERO..Duration::MAX,
            skip: 0,
            times: u64::MAX,
            percent: 100,
            fault,
        }
    }

    /// The next request of this operation on a key that contains `key`.
    pub fn once(operation: Operation, key: &str, fault: Fault) -> Self {
        Self { key: key.to_owned(), times: 1, ..Self::always(operation, fault) }
    }

    fn matches(&self, request: &Request<'_>, age: Duration) -> bool {
        self.operation.is_none_or(|of| of == request.operation)
            && self.time.contains(&age)
            && self.signed_with.as_deref().is_none_or(|key| request.signed_with == Some(key))
            && contains(request.key, &self.key)
    }
}

/// What a rule sees of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    pub(super) operation: Operation,
    pub(super) key: &'a str,
    /// The access key.
    pub(super) signed_with: Option<&'a str>,
}

fn contains(key: &str, glob: &str) -> bool {
    let mut rest = Some(key);
    for part in glob.split('*') {
        rest = rest.and_then(|rest| Some(&rest[rest.find(part)? + part.len()..]));
    }
    rest.is_some()
}

/// The rules in force; the first that applies counts. Thread-safe.
#[derive(Debug, Default)]
pub struct Rules {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rules: Vec<(Instant, Rule)>,
    random: u64,
}

impl Default for State {
    fn default() -> Self {
        Self { rules: Vec::new(), random: 0x9e37_79b9_7f4a_7c15 }
    }
}

impl Rules {
    /// Adds a rule.
    #[allow(clippy::disallowed_methods, reason = "a real server outside varve's seams")]
    pub fn add(&self, rule: Rule) {
        self.state.lock().rules.push((Instant::now(), rule));
    }

    /// Ends all misbehaviour.
    pub fn clear(&self) {
        self.state.lock().rules.clear();
    }

    /// The fault of this request, if any.
    pub(super) fn fault(&self, request: &Request<'_>) -> Option<Fault> {
        let mut state = self.state.lock();
        let State { rules, random } = &mut *state;
        for (added, rule) in rules {
            if !rule.matches(request, added.elapsed()) || rule.times == 0 {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            *random ^= *random << 13;
            *random ^= *random >> 7;
            *random ^= *random << 17;
            if *random % 100 < u64::from(rule.percent) {
                rule.times -= 1;
                return Some(rule.fault.clone());
            }
        }
        None
    }
}
