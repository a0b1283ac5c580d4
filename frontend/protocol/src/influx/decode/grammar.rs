//! The whole grammar of a line, in InfluxDB's order of checks, into a scratch row.
//!
//! Every text is copied into one arena on the way, unescaped, so that a row is
//! complete before anything of it reaches a column.

use std::borrow::Cow;

use varve_model::limits::{
    COLUMN_NAME_BYTES_MAX, LINE_BYTES_MAX, SERIES_KEY_BYTES_MAX, TABLE_NAME_BYTES_MAX, TAG_VALUE_BYTES_MAX, TAGS_MAX,
};
use varve_model::name::{self, TIME_COLUMN};

use super::lines::{self, skip_blanks};
use super::number::{self, Scalar};
use super::{Fault, Times};

/// Why a line was refused.
pub(super) type Refusal = (Cow<'static, str>, Fault);

/// A text in the arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Text {
    start: u32,
    end: u32,
}

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Parsed {
    Scalar(Scalar),
    String(Text),
}

/// One parsed line; its buffers are used again for the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    arena: Vec<u8>,
    pub(super) measurement: Text,
    pub(super) tags: Vec<(Text, Text)>,
    pub(super) fields: Vec<(Text, Parsed)>,
    /// Nanoseconds.
    pub(super) ts: i64,
}

/// Bytes that InfluxDB puts between series key and field name in its index.
const KEY_FIELD_SEPARATOR_BYTES: usize = 4;

fn unparsable(reason: impl Into<Cow<'static, str>>) -> Refusal {
    (reason.into(), Fault::Unparsable)
}

fn dropped(reason: impl Into<Cow<'static, str>>) -> Refusal {
    (reason.into(), Fault::Dropped)
}

impl Scratch {
    /// The bytes of a text.
    pub(super) fn get(&self, text: Text) -> &[u8] {
        &self.arena[text.start as usize..text.end as usize]
    }

    /// Parses a line; `Ok(false)` for blank lines and comments.
    pub(super) fn parse(&mut self, line: &[u8], times: Times) -> Result<bool, Refusal> {
        self.arena.clear();
        self.tags.clear();
        self.fields.clear();
        let line = lines::trimmed(line);
        if line.is_empty() || line[0] == b'#' {
            return Ok(false);
        }
        if line.len() > LINE_BYTES_MAX {
            return Err(unparsable(format!("line is longer than {LINE_BYTES_MAX} bytes")));
        }
        if std::str::from_utf8(line).is_err() {
            return Err(unparsable("invalid UTF-8"));
        }
        if line.contains(&0) {
            return Err(unparsable("line contains a NUL byte"));
        }
        if line.starts_with("\u{feff}".as_bytes()) {
            return Err(unparsable("line starts with a byte order mark"));
        }
        let key_len = self.key(line)?;
        if key_len > SERIES_KEY_BYTES_MAX {
            return Err(unparsable(format!("max key length exceeded: {key_len} > {SERIES_KEY_BYTES_MAX}")));
        }
        let at = self.field_set(line, skip_blanks(line, key_len))?;
        for (field, _) in &self.fields {
            let len = key_len + KEY_FIELD_SEPARATOR_BYTES + self.get(*field).len();
            if len > SERIES_KEY_BYTES_MAX {
                return Err(unparsable(format!("max key length exceeded: {len} > {SERIES_KEY_BYTES_MAX}")));
            }
        }
        self.time(line, skip_blanks(line, at), times)?;
        self.check_rules()?;
        Ok(true)
    }

    /// Measurement and tags; returns the length of the key's text.
    fn key(&mut self, line: &[u8]) -> Result<usize, Refusal> {
        if line[0] == b',' {
            return Err(unparsable("missing measurement"));
        }
        let Some(mut at) = find(line, 1, |byte| matches!(byte, b',' | b' ')) else {
            return Err(unparsable("missing fields"));
        };
        self.measurement = self.unescape(&line[..at], b", ");
        while line[at] == b',' {
            let start = at + 1;
            if matches!(line.get(start), None | Some(b' ' | b',' | b'=')) {
                return Err(unparsable("missing tag key"));
            }
            let Some(equals) = find(line, start + 1, |byte| matches!(byte, b',' | b' ' | b'=')) else {
                return Err(unparsable("missing tag value"));
            };
            if line[equals] != b'=' || matches!(line.get(equals + 1), None | Some(b' ' | b',')) {
                return Err(unparsable("missing tag value"));
            }
            let Some(end) = find(line, equals + 2, |byte| matches!(byte, b',' | b' ' | b'=')) else {
                return Err(unparsable("missing fields"));
            };
            if line[end] == b'=' {
                return Err(unparsable("invalid tag format"));
            }
            let tag = (self.unescape(&line[start..equals], b",= "), self.unescape(&line[equals + 1..end], b",= "));
            self.tags.push(tag);
            at = end;
        }
        self.check_duplicate_tags()?;
        Ok(at)
    }

    fn check_duplicate_tags(&mut self) -> Result<(), Refusal> {
        let (arena, tags) = (&self.arena, &mut self.tags);
        let name = |text: Text| &arena[text.start as usize..text.end as usize];
        if tags.windows(2).any(|pair| name(pair[0].0) >= name(pair[1].0)) {
            let mut sorted = tags.clone();
            sorted.sort_unstable_by(|a, b| name(a.0).cmp(name(b.0)));
            if sorted.windows(2).any(|pair| name(pair[0].0) == name(pair[1].0)) {
                return Err(unparsable("duplicate tags"));
            }
        }
        Ok(())
    }

    /// The fields from `at` on; returns where they end.
    fn field_set(&mut self, line: &[u8], mut at: usize) -> Result<usize, Refusal> {
        const FORMAT: &str = "invalid field format";
        let mut malformed = false;
        loop {
            let start = at;
            let Some(end) = find(line, at, |byte| matches!(byte, b',' | b' ' | b'=')) else {
                return Err(unparsable(FORMAT));
            };
            if line[end] == b' ' {
                return Err(unparsable(FORMAT));
            }
            if line[end] == b',' {
                malformed = true;
                at = end + 1;
                continue;
            }
            if end == start {
                return Err(unparsable("missing field key"));
            }
            let name = self.unescape(&line[start..end], b",= ");
            at = self.field_value(line, end + 1, name)?;
            match line.get(at) {
                None | Some(b' ') if malformed => return Err(unparsable(FORMAT)),
                None | Some(b' ') => return Ok(at),
                Some(b',') => at += 1,
                Some(_) => return Err(unparsable(FORMAT)),
            }
        }
    }

    /// The value at `at`; returns where it ends.
    fn field_value(&mut self, line: &[u8], at: usize, name: Text) -> Result<usize, Refusal> {
        let Some(first) = line.get(at).filter(|byte| !matches!(byte, b',' | b' ')) else {
            return Err(unparsable("missing field value"));
        };
        if *first == b'"' {
            let Some(end) = closing_quote(line, at + 1) else {
                return Err(unparsable("unbalanced quotes"));
            };
            let text = self.unescape(&line[at + 1..end], b"\"\\");
            self.fields.push((name, Parsed::String(text)));
            return Ok(end + 1);
        }
        let rest = &line[at..];
        let end = rest.iter().position(|byte| matches!(byte, b',' | b' ')).unwrap_or(rest.len());
        let text = &rest[..end];
        let scalar = match first {
            b'0'..=b'9' | b'.' | b'-' | b'N' | b'n' => number::strict(text).map_err(unparsable)?,
            _ => number::boolean(text).map(Scalar::Bool).ok_or_else(|| unparsable("invalid boolean"))?,
        };
        self.fields.push((name, Parsed::Scalar(scalar)));
        Ok(at + end)
    }

    fn time(&mut self, line: &[u8], at: usize, times: Times) -> Result<(), Refusal> {
        let rest = &line[at..];
        let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        let text = &rest[..end];
        let digits = text.strip_prefix(b"-").unwrap_or(text);
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(unparsable("bad timestamp"));
        }
        if text.is_empty() {
            self.ts = times.default_nanos();
            return Ok(());
        }
        self.ts = number::strict_time(text, times).map_err(unparsable)?;
        if rest[end..].iter().any(|byte| *byte != b' ') {
            return Err(unparsable("point is invalid"));
        }
        Ok(())
    }

    /// Rules about names and sizes: the point parses but is dropped.
    fn check_rules(&mut self) -> Result<(), Refusal> {
        let table = String::from_utf8_lossy(self.get(self.measurement)).into_owned();
        let too_long = |what: &str, max: usize| dropped(format!("{what} is longer than {max} bytes"));
        if table.len() > TABLE_NAME_BYTES_MAX {
            return Err(too_long("measurement", TABLE_NAME_BYTES_MAX));
        }
        if self.tags.len() > TAGS_MAX {
            return Err(dropped(format!("measurement \"{table}\" has more than {TAGS_MAX} tags")));
        }
        for &(tag, value) in &self.tags {
            let tag = String::from_utf8_lossy(self.get(tag));
            if tag == TIME_COLUMN {
                return Err(dropped(format!(
                    "invalid tag key: input tag \"{TIME_COLUMN}\" on measurement \"{table}\" is invalid"
                )));
            }
            name::check_column(&tag).map_err(|error| dropped(error.message().to_owned()))?;
            if self.get(value).len() > TAG_VALUE_BYTES_MAX {
                return Err(too_long(&format!("value of tag \"{tag}\""), TAG_VALUE_BYTES_MAX));
            }
        }
        let mut fields = std::mem::take(&mut self.fields);
        fields.retain(|(field, _)| self.get(*field) != TIME_COLUMN.as_bytes());
        self.fields = fields;
        if self.fields.is_empty() {
            return Err(dropped(format!(
                "invalid field name: input field \"{TIME_COLUMN}\" on measurement \"{table}\" is invalid"
            )));
        }
        for (field, _) in &self.fields {
            let field = String::from_utf8_lossy(self.get(*field));
            if field.len() > COLUMN_NAME_BYTES_MAX {
                return Err(too_long("field name", COLUMN_NAME_BYTES_MAX));
            }
            name::check_column(&field).map_err(|error| dropped(error.message().to_owned()))?;
        }
        Ok(())
    }

    /// Copies a text into the arena; a backslash before one of `escaped` is left out.
    fn unescape(&mut self, mut text: &[u8], escaped: &[u8]) -> Text {
        let start = self.arena.len() as u32;
        while let Some(at) = memchr::memchr(b'\\', text) {
            let keep = match text.get(at + 1) {
                Some(next) if escaped.contains(next) => at,
                _ => at + 1,
            };
            self.arena.extend_from_slice(&text[..keep]);
            // The escaped byte itself is copied here: it may be a backslash.
            let next = usize::from(keep == at);
            self.arena.extend_from_slice(&text[at + 1..at + 1 + next]);
            text = &text[at + 1 + next..];
        }
        self.arena.extend_from_slice(text);
        Text { start, end: self.arena.len() as u32 }
    }
}

/// The first place from `at` on whose byte `stops` and does not stand behind a backslash.
fn find(line: &[u8], at: usize, stops: impl Fn(u8) -> bool) -> Option<usize> {
    (at..line.len()).find(|&at| stops(line[at]) && (at == 0 || line[at - 1] != b'\\'))
}

/// The quote that ends a string whose text starts at `at`.
fn closing_quote(line: &[u8], mut at: usize) -> Option<usize> {
    while at < line.len() {
        match line[at] {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}
