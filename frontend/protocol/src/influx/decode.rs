//! Line protocol into columns.
//!
//! Two readers of one grammar: `fast` takes lines of known tables and fields
//! without any escape or quote and writes straight into the columns; whatever
//! surprises it goes to `grammar`, which reads every line, finds InfluxDB's
//! words for what is wrong, and stores a row as a whole or not at all. Only
//! `grammar` reports, so that both readers need not agree on texts.

mod fast;
mod grammar;
mod lines;
mod number;
mod table;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use varve_model::rows::Rows;

use self::fast::Reader;
use self::lines::Lines;

/// Bad lines whose text is kept; more are only counted.
pub const LINE_ERRORS_MAX: usize = 1000;
/// Bytes kept of a bad line's text.
pub const LINE_TEXT_BYTES_MAX: usize = 4096;

/// How to read the timestamps of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Nanoseconds per unit of the timestamps in the text.
    pub scale_nanos: i64,
    /// Arrival of the request by the wall clock: the timestamp of lines without one.
    pub arrival_nanos: i64,
}

impl Times {
    /// The timestamp of a line without one: the arrival, truncated to the precision.
    fn default_nanos(self) -> i64 {
        self.arrival_nanos - self.arrival_nanos.rem_euclid(self.scale_nanos.max(1))
    }
}

/// What a line's refusal means for the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The line does not parse.
    Unparsable,
    /// The line parses, but its point breaks a rule; InfluxDB counts it as dropped.
    Dropped,
}

/// A line that was not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    /// Line number, from 1.
    pub line: u32,
    /// The line as sent, without leading blanks; at most [`LINE_TEXT_BYTES_MAX`] bytes.
    pub text: String,
    /// InfluxDB's reason.
    pub reason: Cow<'static, str>,
    /// What it means.
    pub fault: Fault,
}

/// A decoded body.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// The good lines; `origin` is the line number from 0.
    pub rows: Rows,
    /// The first [`LINE_ERRORS_MAX`] bad lines.
    pub errors: Vec<LineError>,
    /// Bad lines beyond those kept in `errors`.
    pub errors_more: usize,
    /// How many of the lines in `errors` and beyond are [`Fault::Dropped`].
    pub dropped: usize,
}

/// Decodes a body. `seed` keys the hash tables, so that no client can choose keys that collide.
///
/// Precondition: the body is shorter than 4 GiB (limits keep it far below).
pub fn decode(body: &[u8], times: Times, seed: u64) -> Decoded {
    run(body, times, seed, Path::Both)
}

/// Which readers are used; the tests compare them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    Both,
    #[cfg(test)]
    Slow,
}

fn run(body: &[u8], times: Times, seed: u64, path: Path) -> Decoded {
    let mut reader = Reader::new(body, times, seed);
    let mut decoded = Decoded::default();
    for line in Lines::new(body) {
        if path == Path::Both && line.plain && reader.row(line.start, line.end, line.number) {
            continue;
        }
        if let Err((reason, fault)) = reader.any_row(&line) {
            decoded.report(&body[line.start..line.end], line.number, reason, fault);
        }
    }
    decoded.rows = reader.finish();
    decoded
}

impl Decoded {
    fn report(&mut self, line: &[u8], number: u32, reason: Cow<'static, str>, fault: Fault) {
        if fault == Fault::Dropped {
            self.dropped += 1;
        }
        if self.errors.len() == LINE_ERRORS_MAX {
            self.errors_more += 1;
            return;
        }
        let line = lines::trimmed(line);
        let text = String::from_utf8_lossy(&line[..line.len().min(LINE_TEXT_BYTES_MAX)]).into_owned();
        self.errors.push(LineError { line: number + 1, text, reason, fault });
    }
}
