//! The tables of one request while they grow.
//!
//! Columns lag: a field that a row leaves out is padded with nulls when it
//! comes again, or at the end. So a row costs what it holds, not what its table
//! holds, and taking a half-read row back is a truncation.

use hashbrown::HashTable;
use varve_model::batch::Values;
use varve_model::limits::COLUMNS_MAX;
use varve_model::rows::{Rows, TableRows};
use varve_model::schema::StoredType;
use varve_model::time::TimeUnit;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::grammar::{Parsed, Scratch};
use super::number::Scalar;

/// A field as the last row had it.
#[derive(Debug)]
struct Predicted {
    column: u32,
    /// End of its `name=` in the shape's text.
    end: u32,
}

/// One table of the request.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) rows: TableRows,
    seed: u64,
    /// Slots of `rows.keys` by key.
    series: HashTable<u32>,
    /// Places in `rows.tags` by name.
    tags: HashTable<u32>,
    /// Places in `rows.fields` by name and type.
    columns: HashTable<u32>,
    shape: Vec<Predicted>,
    /// `name=` of each field of the shape, back to back.
    shape_text: Vec<u8>,
    /// Columns of the row that is being read.
    touched: Vec<u32>,
}

impl Table {
    fn new(name: &str, seed: u64) -> Self {
        Self {
            rows: TableRows::new(name, TimeUnit::Nanosecond),
            seed,
            series: HashTable::new(),
            tags: HashTable::new(),
            columns: HashTable::new(),
            shape: Vec::new(),
            shape_text: Vec::new(),
            touched: Vec::new(),
        }
    }

    /// Whether the field at `place` of the shape is the next in `text`: its column and the length of `name=`.
    #[inline]
    pub(super) fn predict(&self, place: usize, text: &[u8]) -> Option<(usize, usize)> {
        let predicted = self.shape.get(place)?;
        let start = if place == 0 { 0 } else { self.shape[place - 1].end as usize };
        let name = &self.shape_text[start..predicted.end as usize];
        text.starts_with(name).then_some((predicted.column as usize, name.len()))
    }

    /// The column of this name and type.
    pub(super) fn column(&self, name: &[u8], stored: StoredType) -> Option<usize> {
        let fields = &self.rows.fields;
        let same = |column: &u32| {
            let field = &fields[*column as usize];
            field.name.as_bytes() == name && field.vector.values.stored() == stored
        };
        self.columns.find(self.column_hash(name, stored), same).map(|column| *column as usize)
    }

    fn column_hash(&self, name: &[u8], stored: StoredType) -> u64 {
        xxh3_64_with_seed(name, self.seed ^ stored as u64)
    }

    /// Appends a value of the row that is being read. `false` when the column has another type.
    #[inline]
    pub(super) fn put(&mut self, column: usize, value: Scalar) -> bool {
        let row = self.rows.ts.len();
        let vector = &mut self.rows.fields[column].vector;
        // Before aligning: a value that the row gave earlier in another type stays.
        if vector.values.stored() != scalar_type(value) {
            return false;
        }
        if vector.len() != row {
            align(vector, row);
        }
        match (&mut vector.values, value) {
            (Values::I64(values), Scalar::I64(value)) => values.push(value),
            (Values::F64(values), Scalar::F64(value)) => values.push(value),
            (Values::U64(values), Scalar::U64(value)) => values.push(value),
            (Values::Bool(values), Scalar::Bool(value)) => values.push(value),
            _ => unreachable!("the types were compared"),
        }
        vector.mark_valid();
        self.touched.push(column as u32);
        true
    }

    fn put_text(&mut self, column: usize, text: &[u8]) {
        let row = self.rows.ts.len();
        let vector = &mut self.rows.fields[column].vector;
        align(vector, row);
        if let Values::String(values) = &mut vector.values {
            values.push(text);
            vector.mark_valid();
        }
        self.touched.push(column as u32);
    }

    /// Takes the half-read row back.
    pub(super) fn take_back(&mut self) {
        let row = self.rows.ts.len();
        for column in self.touched.drain(..) {
            self.rows.fields[column as usize].vector.truncate(row);
        }
    }

    /// Ends the row. `learn` makes its fields the next prediction.
    #[inline]
    pub(super) fn close_row(&mut self, series: u32, ts: i64, origin: u32, learn: bool) {
        if learn {
            self.learn();
        }
        self.touched.clear();
        self.rows.series.push(series);
        self.rows.ts.push(ts);
        self.rows.origin.push(origin);
    }

    fn learn(&mut self) {
        self.shape.clear();
        self.shape_text.clear();
        for &column in &self.touched {
            let name = &self.rows.fields[column as usize].name;
            if name.contains([',', '=', ' ']) {
                // Its text is escaped, and `name=` could match a malformed line.
                self.shape.clear();
                return;
            }
            self.shape_text.extend_from_slice(name.as_bytes());
            self.shape_text.push(b'=');
            self.shape.push(Predicted { column, end: self.shape_text.len() as u32 });
        }
    }

    /// The slot of this series, new if need be. `tags` are its names, to be known as columns.
    pub(super) fn series<'a>(&mut self, key: &[u8], tags: impl Iterator<Item = &'a [u8]>) -> u32 {
        let hash = xxh3_64_with_seed(key, self.seed);
        let keys = &self.rows.keys;
        if let Some(slot) = self.series.find(hash, |slot| keys.get(*slot) == key) {
            return *slot;
        }
        for (place, tag) in tags.enumerate() {
            self.know_tag(place, tag);
        }
        let slot = self.rows.keys.push(key);
        let (keys, seed) = (&self.rows.keys, self.seed);
        self.series.insert_unique(hash, slot, |slot| xxh3_64_with_seed(keys.get(*slot), seed));
        slot
    }

    fn know_tag(&mut self, place: usize, tag: &[u8]) {
        if self.rows.tags.get(place).is_some_and(|known| known.as_bytes() == tag) {
            return;
        }
        let hash = xxh3_64_with_seed(tag, self.seed);
        let tags = &mut self.rows.tags;
        if self.tags.find(hash, |known| tags[*known as usize].as_bytes() == tag).is_none() {
            tags.push(String::from_utf8_lossy(tag).into_owned());
            let seed = self.seed;
            self.tags.insert_unique(hash, tags.len() as u32 - 1, |known| {
                xxh3_64_with_seed(tags[*known as usize].as_bytes(), seed)
            });
        }
    }

    /// Stores the fields of a parsed line; `close_row` follows. Errors: the table would be too wide.
    pub(super) fn put_parsed(&mut self, scratch: &Scratch) -> Result<(), String> {
        // Before the first column appears, so that a refused row leaves no column behind.
        let fresh =
            scratch.fields.iter().filter(|(name, value)| self.column(scratch.get(*name), stored(*value)).is_none());
        if self.rows.fields.len() + self.rows.tags.len() + fresh.count() > COLUMNS_MAX {
            return Err(format!("measurement \"{}\" would have more than {COLUMNS_MAX} columns", self.rows.table));
        }
        for &(name, value) in &scratch.fields {
            let column = self.column_or_new(scratch.get(name), stored(value));
            match value {
                Parsed::Scalar(value) => {
                    let fits = self.put(column, value);
                    debug_assert!(fits, "the column was chosen by type");
                }
                Parsed::String(text) => self.put_text(column, scratch.get(text)),
            }
        }
        Ok(())
    }

    fn column_or_new(&mut self, name: &[u8], stored: StoredType) -> usize {
        if let Some(column) = self.column(name, stored) {
            return column;
        }
        let hash = self.column_hash(name, stored);
        let column = self.rows.field_mut(&String::from_utf8_lossy(name), stored);
        let (fields, seed) = (&self.rows.fields, self.seed);
        self.columns.insert_unique(hash, column as u32, |column| {
            let field = &fields[*column as usize];
            xxh3_64_with_seed(field.name.as_bytes(), seed ^ field.vector.values.stored() as u64)
        });
        column
    }
}

/// Brings a lagging column up to `row` nulls, or takes back a value that the row already gave: the last one counts.
#[cold]
fn align(vector: &mut varve_model::batch::Vector, row: usize) {
    if vector.len() < row {
        vector.extend_null(row - vector.len());
    } else {
        vector.truncate(row);
    }
}

fn stored(value: Parsed) -> StoredType {
    match value {
        Parsed::Scalar(scalar) => scalar_type(scalar),
        Parsed::String(_) => StoredType::String,
    }
}

/// The stored type of a value.
pub(super) fn scalar_type(scalar: Scalar) -> StoredType {
    match scalar {
        Scalar::F64(_) => StoredType::F64,
        Scalar::I64(_) => StoredType::I64,
        Scalar::U64(_) => StoredType::U64,
        Scalar::Bool(_) => StoredType::Bool,
    }
}

/// All tables of the request.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) list: Vec<Table>,
    by_name: HashTable<u32>,
    seed: u64,
}

impl Tables {
    pub(super) fn new(seed: u64) -> Self {
        Self { list: Vec::new(), by_name: HashTable::new(), seed }
    }

    /// The table of this name.
    pub(super) fn find(&self, name: &[u8]) -> Option<usize> {
        let same = |table: &u32| self.list[*table as usize].rows.table.as_bytes() == name;
        self.by_name.find(xxh3_64_with_seed(name, self.seed), same).map(|table| *table as usize)
    }

    /// The table of this name, new if need be.
    pub(super) fn find_or_new(&mut self, name: &[u8]) -> usize {
        if let Some(table) = self.find(name) {
            return table;
        }
        self.list.push(Table::new(&String::from_utf8_lossy(name), self.seed));
        let (list, seed) = (&self.list, self.seed);
        self.by_name.insert_unique(xxh3_64_with_seed(name, seed), list.len() as u32 - 1, |table| {
            xxh3_64_with_seed(list[*table as usize].rows.table.as_bytes(), seed)
        });
        self.list.len() - 1
    }

    /// The rows, every field as long as its table.
    pub(super) fn finish(self) -> Rows {
        let mut rows = Rows::default();
        for mut table in self.list {
            let len = table.rows.ts.len();
            for field in &mut table.rows.fields {
                align(&mut field.vector, len);
            }
            if len > 0 {
                rows.tables.push(table.rows);
            }
        }
        rows
    }
}
