//! A byte-weighted cache: what is used least goes first.

use std::collections::BTreeMap;
use std::hash::Hash;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

#[cfg(test)]
mod tests;

/// Values by key, bounded by the sum of their weights. Thread-safe.
#[derive(Debug)]
pub(super) struct Cache<K, V>(Mutex<Inner<K, V>>);

#[derive(Debug)]
struct Inner<K, V> {
    bytes_max: u64,
    bytes: u64,
    /// Counts uses; the entry with the smallest number was used longest ago.
    tick: u64,
    entries: FxHashMap<K, Entry<V>>,
    by_use: BTreeMap<u64, K>,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    bytes: u64,
    used: u64,
}

impl<K: Clone + Eq + Hash, V: Clone> Cache<K, V> {
    /// An empty cache.
    pub(super) fn new(bytes_max: u64) -> Self {
        Self(Mutex::new(Inner { bytes_max, bytes: 0, tick: 0, entries: FxHashMap::default(), by_use: BTreeMap::new() }))
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &K) -> Option<V> {
        let inner = &mut *self.0.lock();
        let entry = inner.entries.get_mut(key)?;
        inner.tick += 1;
        inner.by_use.remove(&entry.used);
        inner.by_use.insert(inner.tick, key.clone());
        entry.used = inner.tick;
        Some(entry.value.clone())
    }

    /// Keeps a value unless it alone exceeds the bound.
    pub(super) fn insert(&self, key: K, value: V, bytes: u64) {
        let inner = &mut *self.0.lock();
        inner.remove(&key);
        if bytes > inner.bytes_max {
            return;
        }
        while inner.bytes + bytes > inner.bytes_max {
            let Some(oldest) = inner.by_use.first_key_value().map(|(_, key)| key.clone()) else { break };
            inner.remove(&oldest);
        }
        inner.tick += 1;
        inner.bytes += bytes;
        inner.by_use.insert(inner.tick, key.clone());
        inner.entries.insert(key, Entry { value, bytes, used: inner.tick });
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> u64 {
        self.0.lock().bytes
    }
}

impl<K: Clone + Eq + Hash, V> Inner<K, V> {
    fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.by_use.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }
}
