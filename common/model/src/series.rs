//! The key of a series: its tags, sorted by name, in canonical bytes.
//!
//! Layout (docs/format/series-key.md): for each tag, sorted by the bytes of its
//! name: LEB128 length and bytes of the name, LEB128 length and bytes of the
//! value. A NULL tag is left out. An empty value stays in the *registry* key,
//! so that SQL can tell `''` from NULL, and is left out of the *canonical* key,
//! over which the partition hash is taken, so that adding a tag moves no series.

use xxhash_rust::xxh3::xxh3_64;

#[cfg(test)]
mod tests;

/// Appends a LEB128 length-prefixed byte string.
fn put(bytes: &mut Vec<u8>, text: &[u8]) {
    let mut len = text.len();
    while len >= 0x80 {
        bytes.push(len as u8 | 0x80);
        len >>= 7;
    }
    bytes.push(len as u8);
    bytes.extend_from_slice(text);
}

/// Splits a length-prefixed byte string off the front; `None` when malformed.
fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (mut len, mut shift) = (0usize, 0);
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        len |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            // The shortest form only: two spellings of one key would be two series.
            if byte == 0 && shift > 0 {
                return None;
            }
            break;
        }
        shift += 7;
        if shift > 28 {
            return None;
        }
    }
    if len > bytes.len() {
        return None;
    }
    let (text, rest) = bytes.split_at(len);
    *bytes = rest;
    Some(text)
}

/// Appends the registry key of these tags to `bytes`. `tags` is sorted in place by name.
///
/// Precondition: names are distinct.
pub fn encode_key(tags: &mut [(&[u8], &[u8])], bytes: &mut Vec<u8>) {
    tags.sort_unstable_by(|a, b| a.0.cmp(b.0));
    debug_assert!(tags.windows(2).all(|pair| pair[0].0 != pair[1].0), "duplicate tag");
    for (name, value) in tags {
        put(bytes, name);
        put(bytes, value);
    }
}

/// Name and value of each tag of a registry key, sorted by name.
///
/// The iterator stops early on malformed bytes; [`is_valid_key`] tells.
pub fn tags_of(mut key: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    std::iter::from_fn(move || {
        let name = take(&mut key)?;
        let value = take(&mut key)?;
        Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?))
    })
}

/// Whether the bytes are a well-formed key: canonical lengths, UTF-8, sorted distinct names.
pub fn is_valid_key(mut key: &[u8]) -> bool {
    let mut previous: Option<&[u8]> = None;
    while !key.is_empty() {
        let (Some(name), Some(value)) = (take(&mut key), take(&mut key)) else { return false };
        if previous.is_some_and(|previous| previous >= name) {
            return false;
        }
        if std::str::from_utf8(name).is_err() || std::str::from_utf8(value).is_err() {
            return false;
        }
        previous = Some(name);
    }
    true
}

/// The default partition hash: xxh3-64, seed 0, over the canonical key.
pub fn partition_hash(key: &[u8]) -> u64 {
    let has_empty = tags_of(key).any(|(_, value)| value.is_empty());
    if !has_empty {
        return xxh3_64(key);
    }
    let mut canonical = Vec::with_capacity(key.len());
    for (name, value) in tags_of(key).filter(|(_, value)| !value.is_empty()) {
        put(&mut canonical, name.as_bytes());
        put(&mut canonical, value.as_bytes());
    }
    xxh3_64(&canonical)
}

/// Series keys of one batch, back to back: no object per series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeriesKeys {
    bytes: Vec<u8>,
    /// End of key i in `bytes`.
    ends: Vec<u32>,
}

impl SeriesKeys {
    /// Appends a key and returns its slot.
    pub fn push(&mut self, key: &[u8]) -> u32 {
        self.bytes.extend_from_slice(key);
        self.close()
    }

    /// Appends a key that `write` puts at the end of the arena; returns its slot.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> u32 {
        write(&mut self.bytes);
        self.close()
    }

    fn close(&mut self) -> u32 {
        let slot = self.ends.len() as u32;
        self.ends.push(u32::try_from(self.bytes.len()).expect("a request's keys stay below 4 GiB: bodies are limited"));
        slot
    }

    /// The key in this slot. Panics when out of range.
    pub fn get(&self, slot: u32) -> &[u8] {
        let slot = slot as usize;
        let start = if slot == 0 { 0 } else { self.ends[slot - 1] as usize };
        &self.bytes[start..self.ends[slot] as usize]
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// All keys in slot order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len() as u32).map(|slot| self.get(slot))
    }

    /// Bytes held.
    pub fn bytes_len(&self) -> usize {
        self.bytes.len() + 4 * self.ends.len()
    }
}
