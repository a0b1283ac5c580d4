//! A growable bitmap: validity of a vector, one bit per row, 1 = present.

/// Bits in words of 64, least significant first; unused high bits are 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bitmap {
    words: Vec<u64>,
    len: usize,
}

impl Bitmap {
    /// `len` bits of one value.
    pub fn filled(len: usize, bit: bool) -> Self {
        let mut bitmap = Self::default();
        bitmap.extend(len, bit);
        bitmap
    }

    /// Rebuilds from words; `None` when the words do not fit the length.
    pub fn from_words(words: Vec<u64>, len: usize) -> Option<Self> {
        if words.len() != len.div_ceil(64) {
            return None;
        }
        if !len.is_multiple_of(64) && words.last().is_some_and(|last| last >> (len % 64) != 0) {
            return None;
        }
        Some(Self { words, len })
    }

    /// Appends a bit.
    #[inline]
    pub fn push(&mut self, bit: bool) {
        if self.len.is_multiple_of(64) {
            self.words.push(0);
        }
        if bit {
            let last = self.words.len() - 1;
            self.words[last] |= 1 << (self.len % 64);
        }
        self.len += 1;
    }

    /// Appends `count` bits of one value.
    pub fn extend(&mut self, count: usize, bit: bool) {
        let len = self.len + count;
        if bit {
            for at in self.len..len {
                if at % 64 == 0 {
                    self.words.push(0);
                }
                self.words[at / 64] |= 1 << (at % 64);
            }
        } else {
            self.words.resize(len.div_ceil(64), 0);
        }
        self.len = len;
    }

    /// Drops the bits from `len` on.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        self.len = len;
        self.words.truncate(len.div_ceil(64));
        if !len.is_multiple_of(64)
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << (len % 64)) - 1;
        }
    }

    /// The bit at this place. Panics when out of range.
    #[inline]
    pub fn get(&self, at: usize) -> bool {
        assert!(at < self.len, "bit {at} of {}", self.len);
        self.words[at / 64] >> (at % 64) & 1 == 1
    }

    /// Number of bits.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no bit.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of bits that are 1.
    pub fn count_ones(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The words, least significant bit first.
    pub fn words(&self) -> &[u64] {
        &self.words
    }
}
