//! One tag of the index: its values, who has which, and the value of each series.

use hashbrown::HashTable;
use roaring::RoaringBitmap;
use xxhash_rust::xxh3::xxh3_64;

use super::arena::Arena;

/// The series that have one value. Most values of a high-cardinality tag have one series:
/// they cost no heap object.
#[derive(Debug)]
enum Posting {
    One(u32),
    Many(Box<RoaringBitmap>),
}

/// Values, postings and forward codes of one tag.
#[derive(Debug, Default)]
pub(super) struct TagIndex {
    values: Arena,
    codes: HashTable<u32>,
    postings: Vec<Posting>,
    /// Per series: code + 1, 0 = missing; series beyond the end have none.
    forward: Vec<u32>,
    present: RoaringBitmap,
}

impl TagIndex {
    /// Notes that a series has this value. Precondition: ids come in rising order.
    pub(super) fn add(&mut self, id: u32, value: &[u8]) {
        let hash = xxh3_64(value);
        let values = &self.values;
        let code = self.codes.find(hash, |&code| values.get(code) == value).copied();
        let code = if let Some(code) = code {
            match &mut self.postings[code as usize] {
                Posting::Many(ids) => {
                    ids.insert(id);
                }
                one @ Posting::One(_) => {
                    let Posting::One(first) = *one else { unreachable!("the pattern says so") };
                    *one = Posting::Many(Box::new([first, id].into_iter().collect()));
                }
            }
            code
        } else {
            let code = self.values.push(value);
            let values = &self.values;
            self.codes.insert_unique(hash, code, |&code| xxh3_64(values.get(code)));
            self.postings.push(Posting::One(id));
            code
        };
        let wanted = id as usize + 1;
        if wanted > self.forward.capacity() {
            // By an eighth, not by doubling: ten tags of a million series would waste 40 MB.
            self.forward.reserve_exact(wanted + wanted / 8 + 16 - self.forward.len());
        }
        self.forward.resize(id as usize, 0);
        self.forward.push(code + 1);
        self.present.insert(id);
    }

    /// The code of a value.
    pub(super) fn code(&self, value: &[u8]) -> Option<u32> {
        self.codes.find(xxh3_64(value), |&code| self.values.get(code) == value).copied()
    }

    /// The value of a code.
    pub(super) fn value(&self, code: u32) -> &[u8] {
        self.values.get(code)
    }

    /// The value of a code as text; keys are checked before they enter the index.
    pub(super) fn text(&self, code: u32) -> &str {
        std::str::from_utf8(self.values.get(code)).unwrap_or_default()
    }

    /// Number of values; codes are below it.
    pub(super) fn values(&self) -> u32 {
        self.values.len() as u32
    }

    /// The code of a series' value.
    pub(super) fn code_of(&self, id: u32) -> Option<u32> {
        self.forward.get(id as usize).and_then(|code| code.checked_sub(1))
    }

    /// The series that have the tag.
    pub(super) fn present(&self) -> &RoaringBitmap {
        &self.present
    }

    /// The series whose value has one of these codes.
    pub(super) fn with_codes(&self, codes: &[u32]) -> RoaringBitmap {
        if codes.len() > 64 && codes.len() * 8 > self.postings.len() {
            // Many values: one pass over the series is cheaper than so many unions.
            let mut wanted = vec![false; self.postings.len()];
            for &code in codes {
                wanted[code as usize] = true;
            }
            let mut ids = RoaringBitmap::new();
            for (id, &code) in self.forward.iter().enumerate() {
                if code > 0 && wanted[code as usize - 1] {
                    ids.insert(id as u32);
                }
            }
            return ids;
        }
        let mut ids = RoaringBitmap::new();
        for &code in codes {
            match &self.postings[code as usize] {
                Posting::One(id) => {
                    ids.insert(*id);
                }
                Posting::Many(many) => ids |= &**many,
            }
        }
        ids
    }

    /// Bytes held.
    pub(super) fn bytes_len(&self) -> usize {
        let postings = self.postings.iter().map(|posting| match posting {
            Posting::One(_) => size_of::<Posting>(),
            // Containers of a few series; an estimate, as the crate does not tell.
            Posting::Many(ids) => size_of::<Posting>() + 64 + ids.serialized_size(),
        });
        self.values.bytes_len()
            + self.codes.allocation_size()
            + postings.sum::<usize>()
            + self.forward.capacity() * 4
            + self.present.serialized_size()
    }
}
