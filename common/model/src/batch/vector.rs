//! Typed values of one column, one per row, with validity only if a null occurs.

use super::Bitmap;
use crate::schema::StoredType;

/// Strings or bytes back to back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// End of value i in `data`.
    pub ends: Vec<u32>,
    /// All values.
    pub data: Vec<u8>,
}

impl Bytes {
    /// Appends a value. Panics above 4 GiB, which body limits exclude.
    #[inline]
    pub fn push(&mut self, value: &[u8]) {
        self.data.extend_from_slice(value);
        self.ends.push(u32::try_from(self.data.len()).expect("a batch's text stays below 4 GiB: bodies are limited"));
    }

    /// The value at this place. Panics when out of range.
    #[inline]
    pub fn get(&self, at: usize) -> &[u8] {
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.data[start..self.ends[at] as usize]
    }
}

/// Values of one stored type.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the variants are the stored types, documented there")]
pub enum Values {
    F64(Vec<f64>),
    I64(Vec<i64>),
    U64(Vec<u64>),
    Bool(Vec<bool>),
    String(Bytes),
    Json(Bytes),
    Binary(Bytes),
}

/// Floats are equal when their bits are: NaN payloads and -0.0 are kept on the whole way.
impl PartialEq for Values {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::F64(a), Self::F64(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
            }
            (Self::I64(a), Self::I64(b)) => a == b,
            (Self::U64(a), Self::U64(b)) => a == b,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::String(a), Self::String(b))
            | (Self::Json(a), Self::Json(b))
            | (Self::Binary(a), Self::Binary(b)) => a == b,
            _ => false,
        }
    }
}

impl Values {
    /// No values of this type.
    pub fn new(stored: StoredType) -> Self {
        match stored {
            StoredType::F64 => Self::F64(Vec::new()),
            StoredType::I64 => Self::I64(Vec::new()),
            StoredType::U64 => Self::U64(Vec::new()),
            StoredType::Bool => Self::Bool(Vec::new()),
            StoredType::String => Self::String(Bytes::default()),
            StoredType::Json => Self::Json(Bytes::default()),
            StoredType::Binary => Self::Binary(Bytes::default()),
        }
    }

    /// Their type.
    pub fn stored(&self) -> StoredType {
        match self {
            Self::F64(_) => StoredType::F64,
            Self::I64(_) => StoredType::I64,
            Self::U64(_) => StoredType::U64,
            Self::Bool(_) => StoredType::Bool,
            Self::String(_) => StoredType::String,
            Self::Json(_) => StoredType::Json,
            Self::Binary(_) => StoredType::Binary,
        }
    }

    /// Their number.
    pub fn len(&self) -> usize {
        match self {
            Self::F64(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::U64(values) => values.len(),
            Self::Bool(values) => values.len(),
            Self::String(values) | Self::Json(values) | Self::Binary(values) => values.ends.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends `count` zero values, to stand under nulls.
    fn extend_zero(&mut self, count: usize) {
        let len = self.len() + count;
        match self {
            Self::F64(values) => values.resize(len, 0.0),
            Self::I64(values) => values.resize(len, 0),
            Self::U64(values) => values.resize(len, 0),
            Self::Bool(values) => values.resize(len, false),
            Self::String(values) | Self::Json(values) | Self::Binary(values) => {
                let end = values.data.len() as u32;
                values.ends.resize(len, end);
            }
        }
    }

    fn truncate(&mut self, len: usize) {
        match self {
            Self::F64(values) => values.truncate(len),
            Self::I64(values) => values.truncate(len),
            Self::U64(values) => values.truncate(len),
            Self::Bool(values) => values.truncate(len),
            Self::String(values) | Self::Json(values) | Self::Binary(values) => {
                values.ends.truncate(len);
                values.data.truncate(values.ends.last().map_or(0, |end| *end as usize));
            }
        }
    }

    /// Appends the value at `at` of `from`. Precondition: the same type.
    fn push_from(&mut self, from: &Self, at: usize) {
        match (self, from) {
            (Self::F64(to), Self::F64(from)) => to.push(from[at]),
            (Self::I64(to), Self::I64(from)) => to.push(from[at]),
            (Self::U64(to), Self::U64(from)) => to.push(from[at]),
            (Self::Bool(to), Self::Bool(from)) => to.push(from[at]),
            (Self::String(to), Self::String(from))
            | (Self::Json(to), Self::Json(from))
            | (Self::Binary(to), Self::Binary(from)) => to.push(from.get(at)),
            _ => unreachable!("callers compare types first"),
        }
    }

    fn bytes_len(&self) -> usize {
        match self {
            Self::F64(_) | Self::I64(_) | Self::U64(_) => 8 * self.len(),
            Self::Bool(_) => self.len(),
            Self::String(values) | Self::Json(values) | Self::Binary(values) => {
                values.data.len() + 4 * values.ends.len()
            }
        }
    }
}

/// Values with validity; a value under a null is zero.
#[derive(Clone, Debug, PartialEq)]
pub struct Vector {
    /// One per row.
    pub values: Values,
    /// One bit per row; absent when no value is null.
    pub validity: Option<Bitmap>,
}

impl Vector {
    /// An empty vector.
    pub fn new(stored: StoredType) -> Self {
        Self { values: Values::new(stored), validity: None }
    }

    /// All null.
    pub fn nulls(stored: StoredType, len: usize) -> Self {
        let mut vector = Self::new(stored);
        vector.extend_null(len);
        vector
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this row has a value.
    #[inline]
    pub fn is_valid(&self, at: usize) -> bool {
        self.validity.as_ref().is_none_or(|validity| validity.get(at))
    }

    /// Appends nulls.
    pub fn extend_null(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        let len = self.len();
        self.validity.get_or_insert_with(|| Bitmap::filled(len, true)).extend(count, false);
        self.values.extend_zero(count);
    }

    /// Tells the validity that values were pushed directly. Call after each direct push when nulls may exist.
    #[inline]
    pub fn mark_valid(&mut self) {
        if let Some(validity) = &mut self.validity {
            validity.push(true);
        }
    }

    /// Appends row `at` of `from`. Precondition: the same stored type.
    #[inline]
    pub fn push_from(&mut self, from: &Self, at: usize) {
        if from.is_valid(at) {
            self.values.push_from(&from.values, at);
            self.mark_valid();
        } else {
            self.extend_null(1);
        }
    }

    /// Drops the rows from `len` on: how a half-read row is taken back.
    pub fn truncate(&mut self, len: usize) {
        self.values.truncate(len);
        if let Some(validity) = &mut self.validity {
            validity.truncate(len);
        }
    }

    /// The rows at these places, in this order.
    pub fn gather(&self, rows: &[u32]) -> Self {
        fn pick<T: Copy>(values: &[T], rows: &[u32]) -> Vec<T> {
            rows.iter().map(|&row| values[row as usize]).collect()
        }
        fn pick_bytes(values: &Bytes, rows: &[u32]) -> Bytes {
            let mut picked = Bytes::default();
            picked.ends.reserve(rows.len());
            for &row in rows {
                picked.push(values.get(row as usize));
            }
            picked
        }
        let values = match &self.values {
            Values::F64(values) => Values::F64(pick(values, rows)),
            Values::I64(values) => Values::I64(pick(values, rows)),
            Values::U64(values) => Values::U64(pick(values, rows)),
            Values::Bool(values) => Values::Bool(pick(values, rows)),
            Values::String(values) => Values::String(pick_bytes(values, rows)),
            Values::Json(values) => Values::Json(pick_bytes(values, rows)),
            Values::Binary(values) => Values::Binary(pick_bytes(values, rows)),
        };
        let validity = self.validity.as_ref().and_then(|validity| {
            let mut picked = Bitmap::default();
            for &row in rows {
                picked.push(validity.get(row as usize));
            }
            (picked.count_ones() < picked.len()).then_some(picked)
        });
        Self { values, validity }
    }

    /// Bytes held, for accounts.
    pub fn bytes_len(&self) -> usize {
        self.values.bytes_len() + self.validity.as_ref().map_or(0, |validity| validity.words().len() * 8)
    }
}
