//! What this session's lane holds in the bucket: which object has which region's blocks, and which are not needed.

use std::collections::BTreeMap;

use varve_model::id::{RegionId, Sequence};

use crate::fault::bug::{self, Bug};
use crate::format::segment::IndexEntry;

/// One durable object.
#[derive(Clone, Debug)]
pub(super) struct Object {
    /// Its size.
    pub(super) bytes: u64,
    /// Its blocks.
    pub(super) entries: Vec<IndexEntry>,
}

/// The lane's objects, and what regions have flushed.
#[derive(Debug, Default)]
pub(super) struct LaneIndex {
    /// Durable objects that are not trimmed, by slot.
    objects: BTreeMap<u64, Object>,
    /// Trimmed objects whose deletion is not confirmed.
    deleting: Vec<u64>,
    flushed: BTreeMap<RegionId, Sequence>,
    /// The slot that is being written, or will be next.
    head: u64,
}

/// Last sequence of each region among entries.
pub(super) fn last_of(entries: &[IndexEntry]) -> BTreeMap<RegionId, Sequence> {
    let mut last = BTreeMap::<RegionId, Sequence>::new();
    for entry in entries {
        let known = last.entry(entry.region).or_default();
        *known = (*known).max(entry.last_seq());
    }
    last
}

impl LaneIndex {
    /// The slot that is being written, or will be next.
    pub(super) fn head(&self) -> u64 {
        self.head
    }

    /// The object at the head is durable.
    pub(super) fn add(&mut self, object: Object) {
        self.objects.insert(self.head, object);
        self.head += 1;
    }

    /// The region's rows up to here are in files.
    pub(super) fn flushed(&mut self, region: RegionId, flushed_to: Sequence) {
        let flushed = self.flushed.entry(region).or_default();
        *flushed = (*flushed).max(flushed_to);
    }

    fn is_flushed(&self, entry: &IndexEntry) -> bool {
        self.flushed.get(&entry.region).is_some_and(|flushed| *flushed >= entry.last_seq())
    }

    /// Takes the objects that nobody needs, oldest first: never one behind a needed one, so that a hole between two
    /// objects is always damage; never the newest, which is where a sealer begins. Includes those taken before whose
    /// deletion failed.
    pub(super) fn trimmable(&mut self) -> Vec<u64> {
        let newest = self.objects.keys().next_back().copied();
        let may_go = |seq: u64| Some(seq) != newest || bug::is(Bug::TrimNewestObject);
        while let Some((&seq, object)) = self.objects.first_key_value() {
            if !may_go(seq) || !object.entries.iter().all(|entry| self.is_flushed(entry)) {
                break;
            }
            self.objects.remove(&seq);
            self.deleting.push(seq);
        }
        std::mem::take(&mut self.deleting)
    }

    /// These were taken and could not be deleted.
    pub(super) fn not_deleted(&mut self, slots: Vec<u64>) {
        self.deleting.extend(slots);
    }

    /// The first slot that may hold a block of the region above `flushed_to`, now or later.
    pub(super) fn first_needed(&self, region: RegionId, flushed_to: Sequence) -> u64 {
        let needed = |object: &Object| {
            object.entries.iter().any(|entry| entry.region == region && entry.last_seq() > flushed_to)
        };
        self.objects.iter().find(|(_, object)| needed(object)).map_or(self.head, |(seq, _)| *seq)
    }

    /// The region's blocks that end above a sequence, with their slots.
    pub(super) fn blocks(&self, region: RegionId, after: Sequence) -> Vec<(u64, IndexEntry)> {
        let wanted = |entry: &&IndexEntry| entry.region == region && entry.last_seq() > after;
        let of = |(seq, object): (&u64, &Object)| {
            object.entries.iter().filter(wanted).map(|entry| (*seq, *entry)).collect::<Vec<_>>()
        };
        self.objects.iter().flat_map(of).collect()
    }

    /// Regions with unflushed blocks, those in the oldest object first.
    pub(super) fn unflushed(&self) -> Vec<RegionId> {
        let mut seen = std::collections::BTreeSet::new();
        let entries = self.objects.values().flat_map(|object| &object.entries);
        let open = entries.filter(|entry| !self.is_flushed(entry)).map(|entry| entry.region);
        open.filter(|region| seen.insert(*region)).collect()
    }

    /// Bytes of the objects that are not trimmed.
    pub(super) fn bytes(&self) -> u64 {
        self.objects.values().map(|object| object.bytes).sum()
    }
}
