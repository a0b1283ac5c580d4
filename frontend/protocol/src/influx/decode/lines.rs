//! Where a line ends: at LF outside a quoted string, as InfluxDB's scanner sees it.
//!
//! One vector pass over the body tells whether a backslash or a quote occurs at
//! all; without them (the rule) lines are cut at LF and nothing else is looked at.

use memchr::{memchr, memchr2};

/// One line of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// First byte.
    pub(super) start: usize,
    /// Behind the last byte; the LF is left out.
    pub(super) end: usize,
    /// Number of the line, from 0.
    pub(super) number: u32,
    /// Valid UTF-8 without backslash, quote and NUL: the fast reader may try.
    pub(super) plain: bool,
}

/// Iterator over the lines of a body.
#[derive(Debug)]
pub(super) struct Lines<'b> {
    body: &'b [u8],
    at: usize,
    number: u32,
    /// No backslash and no quote in the whole body.
    unquoted: bool,
    /// The whole body is UTF-8 without NUL.
    clean: bool,
}

impl<'b> Lines<'b> {
    pub(super) fn new(body: &'b [u8]) -> Self {
        Self {
            body,
            at: 0,
            number: 0,
            unquoted: memchr2(b'\\', b'"', body).is_none(),
            clean: memchr(0, body).is_none() && std::str::from_utf8(body).is_ok(),
        }
    }
}

impl Iterator for Lines<'_> {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        if self.at >= self.body.len() {
            return None;
        }
        let start = self.at;
        let rest = &self.body[start..];
        let mut len = memchr(b'\n', rest).unwrap_or(rest.len());
        let mut inner_lines = 0;
        let unquoted = self.unquoted || memchr2(b'\\', b'"', &rest[..len]).is_none();
        if !unquoted && rest[skip_blanks(rest, 0)] != b'#' {
            len = quoted_line(rest);
            inner_lines = memchr::memchr_iter(b'\n', &rest[..len]).count() as u32;
        }
        let line = &rest[..len];
        let clean = self.clean || (memchr(0, line).is_none() && std::str::from_utf8(line).is_ok());
        let found = Line { start, end: start + len, number: self.number, plain: unquoted && clean };
        self.at = start + len + 1;
        self.number += 1 + inner_lines;
        Some(found)
    }
}

/// The first place from `at` on that is neither space nor tab.
pub(super) fn skip_blanks(text: &[u8], at: usize) -> usize {
    at + text[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}

/// A line without leading blanks and without what is left of its end: a CR, or
/// the LF at the end of the body that an escape or an open quote took in.
pub(super) fn trimmed(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    &line[skip_blanks(line, 0)..]
}

/// Length of the first line of a text with escapes or quotes.
///
/// A quote opens a string only in a field's value: behind a space, with more
/// `=` than `,` seen since. An escaped byte is never looked at.
fn quoted_line(text: &[u8]) -> usize {
    let (mut quoted, mut in_fields) = (false, false);
    let (mut equals, mut commas) = (0usize, 0usize);
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'\\' if at + 2 < text.len() => at += 1,
            b'\n' if !quoted => return at,
            b' ' => in_fields = true,
            b'=' if in_fields && !quoted => equals += 1,
            b',' if in_fields && !quoted => commas += 1,
            b'"' if in_fields && equals > commas => quoted = !quoted,
            _ => {}
        }
        at += 1;
    }
    text.len()
}
