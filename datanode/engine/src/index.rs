//! The series index of one region: tag sets to dense ids, matchers to ids.
//!
//! Tag and series questions are answered here and never open a data file. Keys
//! are compared by their bytes: at a thousand million series a 64-bit hash
//! alone would merge two of them. Ids are dense and never reused, so everything
//! is an array or a bitmap and no series is an object of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashTable;
use parking_lot::{Mutex, RwLock};
use roaring::RoaringBitmap;
use rustc_hash::FxHashMap;
use varve_model::id::SeriesId;
use varve_model::matcher::Matcher;
use varve_model::series::{SeriesKeys, is_valid_key, tags_of};
use varve_model::{Error, Result};
use varve_service::telemetry::stage::{Stage, StageTimer};
use xxhash_rust::xxh3::xxh3_64;

mod arena;
pub mod meta;
mod order;
pub mod segment;
mod select;
mod tag;
#[cfg(test)]
mod tests;

use arena::Arena;
use meta::IndexSegmentMeta;
use order::KeyOrder;
pub use order::SeriesOrder;
use tag::TagIndex;

use crate::store::FileContext;

/// Thread-safe; written by the region's single writer, read by everyone.
#[derive(Debug, Default)]
pub struct SeriesIndex {
    registry: RwLock<Registry>,
    /// The last order asked for, with its key columns.
    order: Mutex<Option<(Vec<String>, Arc<SeriesOrder>)>>,
}

#[derive(Debug, Default)]
struct Registry {
    keys: Arena,
    ids: HashTable<u32>,
    tag_of: FxHashMap<Box<str>, usize>,
    tags: Vec<TagIndex>,
}

impl Registry {
    fn get(&self, key: &[u8]) -> Option<u32> {
        self.ids.find(xxh3_64(key), |&id| self.keys.get(id) == key).copied()
    }

    /// Precondition: the key is valid and not known.
    fn add(&mut self, key: &[u8]) -> u32 {
        let id = self.keys.push(key);
        let keys = &self.keys;
        self.ids.insert_unique(xxh3_64(key), id, |&id| xxh3_64(keys.get(id)));
        for (name, value) in tags_of(key) {
            let at = if let Some(&at) = self.tag_of.get(name) {
                at
            } else {
                self.tags.push(TagIndex::default());
                self.tag_of.insert(name.into(), self.tags.len() - 1);
                self.tags.len() - 1
            };
            self.tags[at].add(id, value.as_bytes());
        }
        id
    }

    fn len(&self) -> u32 {
        self.keys.len() as u32
    }

    fn tag(&self, name: &str) -> Option<&TagIndex> {
        self.tag_of.get(name).map(|&at| &self.tags[at])
    }

    fn select(&self, matchers: &[Matcher]) -> Result<RoaringBitmap> {
        let mut ids: Option<RoaringBitmap> = None;
        for matcher in matchers {
            let matching = select::matching(matcher, self.tag(&matcher.tag), self.len())?;
            ids = Some(ids.map_or_else(|| matching.clone(), |ids| ids & &matching));
        }
        Ok(ids.unwrap_or_else(|| RoaringBitmap::from_sorted_iter(0..self.len()).expect("a range is sorted")))
    }

    fn key_order(&self, columns: &[String]) -> KeyOrder<'_> {
        KeyOrder { tags: columns.iter().filter_map(|column| self.tag(column)).collect() }
    }
}

impl SeriesIndex {
    /// The index made of these segments. Errors: `Corrupt`, `Unavailable`.
    pub async fn load(ctx: &FileContext, segments: &[IndexSegmentMeta]) -> Result<Self> {
        segment::load(ctx, segments).await
    }

    /// The id of a key.
    pub fn get(&self, key: &[u8]) -> Option<SeriesId> {
        self.registry.read().get(key).map(SeriesId)
    }

    /// The id of a key, a new one if need be. Precondition: the key is valid.
    pub fn insert(&self, key: &[u8]) -> SeriesId {
        let mut registry = self.registry.write();
        SeriesId(registry.get(key).unwrap_or_else(|| registry.add(key)))
    }

    /// Takes over definitions from a WAL block or segment; repeating them changes nothing.
    /// Errors: `Corrupt` when they contradict what is known or leave a gap.
    pub fn restore(&self, first: SeriesId, keys: &SeriesKeys) -> Result<()> {
        let mut registry = self.registry.write();
        for (slot, key) in keys.iter().enumerate() {
            let id = u64::from(first.0) + slot as u64;
            let known = u64::from(registry.len());
            let agrees = match registry.get(key) {
                Some(other) => u64::from(other) == id,
                None => id == known && is_valid_key(key),
            };
            if !agrees {
                return Err(Error::corrupt(format!(
                    "series {id} is defined in contradiction to the index of {known} series"
                )));
            }
            if id == known {
                registry.add(key);
            }
        }
        Ok(())
    }

    /// The id that the next new series gets.
    pub fn next_id(&self) -> SeriesId {
        SeriesId(self.registry.read().len())
    }

    /// Number of series.
    pub fn len(&self) -> usize {
        self.registry.read().len() as usize
    }

    /// Whether there is no series.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The registry key of a series. Panics when the id was never given.
    pub fn key(&self, id: SeriesId) -> Vec<u8> {
        self.registry.read().keys.get(id.0).to_vec()
    }

    /// The series that satisfy all matchers. Errors: `InvalidRequest` for a bad regex.
    pub fn select(&self, matchers: &[Matcher]) -> Result<RoaringBitmap> {
        let timer = StageTimer::start(Stage::IndexMatch);
        let ids = self.registry.read().select(matchers)?;
        timer.finish(ids.len() as usize, 0);
        Ok(ids)
    }

    /// Distinct values of a tag over the matching series, sorted by bytes. Errors: as `select`.
    pub fn tag_values(&self, tag: &str, matchers: &[Matcher]) -> Result<Vec<String>> {
        let registry = self.registry.read();
        let Some(index) = registry.tag(tag) else {
            registry.select(matchers)?;
            return Ok(Vec::new());
        };
        let values = if matchers.is_empty() {
            (0..index.values()).map(|code| index.text(code)).collect::<BTreeSet<_>>()
        } else {
            let ids = registry.select(matchers)? & index.present();
            let mut seen = vec![false; index.values() as usize];
            ids.iter().filter_map(|id| index.code_of(id)).for_each(|code| seen[code as usize] = true);
            (0..index.values()).filter(|&code| seen[code as usize]).map(|code| index.text(code)).collect()
        };
        Ok(values.into_iter().map(str::to_owned).collect())
    }

    /// Registry keys of the matching series, sorted by bytes. Errors: as `select`.
    pub fn series_keys(&self, matchers: &[Matcher]) -> Result<SeriesKeys> {
        let registry = self.registry.read();
        let mut keys = registry.select(matchers)?.iter().map(|id| registry.keys.get(id)).collect::<Vec<_>>();
        keys.sort_unstable();
        let mut sorted = SeriesKeys::default();
        for key in keys {
            sorted.push(key);
        }
        Ok(sorted)
    }

    /// All series in the order of these key columns; kept until a series is added.
    pub fn order(&self, columns: &[String]) -> Arc<SeriesOrder> {
        let registry = self.registry.read();
        let mut cached = self.order.lock();
        let old = cached.as_ref().filter(|(of, _)| of == columns).map(|(_, order)| order.clone());
        if let Some(order) = old.as_ref().filter(|order| order.ids.len() == registry.keys.len()) {
            return order.clone();
        }
        let order = Arc::new(registry.key_order(columns).extend(old.as_deref(), registry.len()));
        *cached = Some((columns.to_vec(), order.clone()));
        order
    }

    /// These series in the order of the key columns. Precondition: all ids were given.
    pub fn sorted(&self, ids: &RoaringBitmap, columns: &[String]) -> Vec<u32> {
        if ids.len() * 8 > self.len() as u64 {
            let order = self.order(columns);
            return order.ids.iter().copied().filter(|&id| ids.contains(id)).collect();
        }
        let mut sorted = ids.iter().collect::<Vec<_>>();
        self.registry.read().key_order(columns).sort(&mut sorted);
        sorted
    }

    /// Per series of the list its value of a tag, as text; `None` where it is missing.
    pub fn values_of(&self, tag: &str, ids: &[u32], mut take: impl FnMut(Option<&str>)) {
        let registry = self.registry.read();
        let index = registry.tag(tag);
        for &id in ids {
            take(index.and_then(|index| index.code_of(id).map(|code| index.text(code))));
        }
    }

    /// Bytes held in memory.
    pub fn bytes_len(&self) -> usize {
        let registry = self.registry.read();
        registry.keys.bytes_len()
            + registry.ids.allocation_size()
            + registry.tags.iter().map(TagIndex::bytes_len).sum::<usize>()
    }
}
