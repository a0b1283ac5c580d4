//! The fast reader: known prefix, predicted fields, no allocation per line.
//!
//! The series key is the text up to the first space. Its hash finds (table,
//! series slot); the text itself, still in the body, decides. Field names are
//! compared with those of the table's last row. Any surprise undoes the row and
//! leaves the line to the grammar.

use hashbrown::HashTable;
use memchr::{memchr, memchr_iter};
use varve_model::limits::{COLUMN_NAME_BYTES_MAX, LINE_BYTES_MAX, SERIES_KEY_BYTES_MAX, TAG_VALUE_BYTES_MAX, TAGS_MAX};
use varve_model::name::{RESERVED_PREFIX, TIME_COLUMN};
use varve_model::rows::Rows;
use varve_model::series::encode_key;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::grammar::{Refusal, Scratch};
use super::lines::Line;
use super::number::{quick, quick_time};
use super::table::{Table, Tables, scalar_type};
use super::{Fault, Times};

/// A series key as written, by its first place in the body.
#[derive(Clone, Copy, Debug)]
struct Prefix {
    hash: u64,
    start: u32,
    len: u32,
    table: u32,
    series: u32,
}

/// Both readers over one body and the tables they fill.
#[derive(Debug)]
pub(super) struct Reader<'b> {
    body: &'b [u8],
    times: Times,
    seed: u64,
    tables: Tables,
    prefixes: HashTable<Prefix>,
    /// Tags of the key that is being read, in the order of the text.
    tags: Vec<(&'b [u8], &'b [u8])>,
    sorted: Vec<(&'b [u8], &'b [u8])>,
    key: Vec<u8>,
    scratch: Scratch,
}

/// What a key's text gives.
enum Key {
    /// Seen before.
    Known { table: usize, series: u32 },
    /// New, of a known table; its tags lie in `tags`.
    Fresh { table: usize },
}

impl<'b> Reader<'b> {
    pub(super) fn new(body: &'b [u8], times: Times, seed: u64) -> Self {
        Self {
            body,
            times,
            seed,
            tables: Tables::new(seed),
            prefixes: HashTable::new(),
            tags: Vec::new(),
            sorted: Vec::new(),
            key: Vec::new(),
            scratch: Scratch::default(),
        }
    }

    /// Stores the line as a row. `false` means a surprise: nothing of it is stored.
    #[inline]
    pub(super) fn row(&mut self, start: usize, end: usize, origin: u32) -> bool {
        let line = &self.body[start..end];
        if line.len() > LINE_BYTES_MAX {
            return false;
        }
        let Some(space) = memchr(b' ', line) else { return false };
        let text = &line[..space];
        let hash = xxh3_64_with_seed(text, self.seed);
        let key = match self.known(text, hash) {
            Some(key) => key,
            None => match self.fresh(text) {
                Some(key) => key,
                None => return false,
            },
        };
        let (Key::Known { table, .. } | Key::Fresh { table }) = key;
        let times = self.times;
        let Some((ts, learn)) = field_set(&mut self.tables.list[table], &line[space + 1..], times) else {
            self.tables.list[table].take_back();
            return false;
        };
        let series = match key {
            Key::Known { series, .. } => series,
            Key::Fresh { .. } => self.intern(table, start, space, hash),
        };
        self.tables.list[table].close_row(series, ts, origin, learn);
        true
    }

    #[inline]
    fn known(&self, text: &[u8], hash: u64) -> Option<Key> {
        let body = self.body;
        let same =
            |prefix: &Prefix| prefix.hash == hash && body[prefix.start as usize..][..prefix.len as usize] == *text;
        let prefix = self.prefixes.find(hash, same)?;
        Some(Key::Known { table: prefix.table as usize, series: prefix.series })
    }

    /// Splits a key without escapes. `None` for whatever the grammar must look at.
    fn fresh(&mut self, text: &'b [u8]) -> Option<Key> {
        self.tags.clear();
        let first = *text.first()?;
        if matches!(first, b'#' | b'\t' | b',') || text.len() + COLUMN_NAME_BYTES_MAX + 4 > SERIES_KEY_BYTES_MAX {
            return None;
        }
        let measurement_len = memchr(b',', text).unwrap_or(text.len());
        let table = self.tables.find(&text[..measurement_len])?;
        let mut rest = &text[measurement_len..];
        while !rest.is_empty() {
            let tag = &rest[1..];
            let tag = &tag[..memchr(b',', tag).unwrap_or(tag.len())];
            let mut equals = memchr_iter(b'=', tag);
            let (Some(at), None) = (equals.next(), equals.next()) else { return None };
            let (name, value) = (&tag[..at], &tag[at + 1..]);
            if name.is_empty() || value.is_empty() || name == TIME_COLUMN.as_bytes() {
                return None;
            }
            if name.len() > COLUMN_NAME_BYTES_MAX || value.len() > TAG_VALUE_BYTES_MAX {
                return None;
            }
            if name.starts_with(RESERVED_PREFIX.as_bytes()) {
                return None;
            }
            self.tags.push((name, value));
            rest = &rest[1 + tag.len()..];
        }
        if self.tags.len() > TAGS_MAX {
            return None;
        }
        self.sorted.clone_from(&self.tags);
        self.sorted.sort_unstable_by(|a, b| a.0.cmp(b.0));
        if self.sorted.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return None;
        }
        Some(Key::Fresh { table })
    }

    /// Gives the key in `tags` its slot and remembers its text.
    fn intern(&mut self, table: usize, start: usize, len: usize, hash: u64) -> u32 {
        self.key.clear();
        encode_key(&mut self.sorted, &mut self.key);
        let series = self.tables.list[table].series(&self.key, self.tags.iter().map(|(name, _)| *name));
        let prefix = Prefix { hash, start: start as u32, len: len as u32, table: table as u32, series };
        self.prefixes.insert_unique(hash, prefix, |prefix| prefix.hash);
        series
    }

    /// Stores any line, or says why not.
    pub(super) fn any_row(&mut self, line: &Line) -> Result<(), Refusal> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let outcome = self.store(&mut scratch, line);
        self.scratch = scratch;
        outcome
    }

    fn store(&mut self, scratch: &mut Scratch, line: &Line) -> Result<(), Refusal> {
        if !scratch.parse(&self.body[line.start..line.end], self.times)? {
            return Ok(());
        }
        let table = self.tables.find_or_new(scratch.get(scratch.measurement));
        let table = &mut self.tables.list[table];
        table.put_parsed(scratch).map_err(|reason| (reason.into(), Fault::Dropped))?;
        let mut tags =
            scratch.tags.iter().map(|(name, value)| (scratch.get(*name), scratch.get(*value))).collect::<Vec<_>>();
        self.key.clear();
        encode_key(&mut tags, &mut self.key);
        let series = table.series(&self.key, scratch.tags.iter().map(|(name, _)| scratch.get(*name)));
        table.close_row(series, scratch.ts, line.number, true);
        Ok(())
    }

    pub(super) fn finish(self) -> Rows {
        self.tables.finish()
    }
}

/// Reads fields and timestamp into the columns: the timestamp, and whether the prediction failed.
#[inline]
fn field_set(table: &mut Table, text: &[u8], times: Times) -> Option<(i64, bool)> {
    let (mut at, mut place, mut learn) = (0, 0, false);
    loop {
        let rest = &text[at..];
        if let Some((column, name_len)) = table.predict(place, rest) {
            let (value, len) = quick(&rest[name_len..])?;
            if !table.put(column, value) {
                let column = table.column(&rest[..name_len - 1], scalar_type(value))?;
                table.put(column, value);
                learn = true;
            }
            at += name_len + len;
        } else {
            learn = true;
            let name_len = rest.iter().position(|byte| matches!(byte, b'=' | b',' | b' '))?;
            let value = rest[name_len..].strip_prefix(b"=")?;
            let (value, len) = quick(value)?;
            let column = table.column(&rest[..name_len], scalar_type(value))?;
            table.put(column, value);
            at += name_len + 1 + len;
        }
        place += 1;
        match text.get(at) {
            Some(b',') => at += 1,
            Some(b' ') => return Some((quick_time(&text[at + 1..], times)?, learn)),
            None => return Some((times.default_nanos(), learn)),
            Some(_) => return None,
        }
    }
}
