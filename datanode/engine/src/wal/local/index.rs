//! Which segment holds which region's blocks, and which segments nobody needs.

use std::collections::{BTreeMap, BTreeSet};

use varve_model::id::{NodeEpoch, RegionId, Sequence};

use crate::format::segment::IndexEntry;
use crate::wal::Source;

/// Name of a segment's file.
pub(super) fn segment_name(session: NodeEpoch, seq: u64) -> String {
    format!("{session}-{seq:016x}.seg")
}

/// Session and number of a segment's file; `None` for other names.
pub(super) fn parse_segment_name(name: &str) -> Option<(NodeEpoch, u64)> {
    let (session, seq) = name.strip_suffix(".seg")?.split_once('-')?;
    let (session, seq) = (u64::from_str_radix(session, 16).ok()?, u64::from_str_radix(seq, 16).ok()?);
    (segment_name(NodeEpoch(session), seq) == name).then_some((NodeEpoch(session), seq))
}

/// One segment.
#[derive(Clone, Debug, Default)]
pub(super) struct Segment {
    /// Size of the file.
    pub(super) bytes: u64,
    /// Where the footer record begins; 0 while the segment is written.
    pub(super) footer: u64,
    /// Last sequence of each region in it.
    pub(super) last: BTreeMap<RegionId, Sequence>,
}

impl Segment {
    pub(super) fn note(&mut self, entries: &[IndexEntry]) {
        for entry in entries {
            let last = self.last.entry(entry.region).or_default();
            *last = (*last).max(entry.last_seq());
        }
    }
}

/// All segments of the folder, oldest first, and what regions have flushed.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    pub(super) segments: BTreeMap<(NodeEpoch, u64), Segment>,
    pub(super) flushed: BTreeMap<RegionId, Sequence>,
    /// Sessions that lived on this volume.
    pub(super) sessions: BTreeSet<NodeEpoch>,
}

impl Index {
    /// Whether every block of the segment is flushed.
    fn is_free(&self, segment: &Segment) -> bool {
        segment.last.iter().all(|(region, last)| self.flushed.get(region).is_some_and(|flushed| flushed >= last))
    }

    /// Closed segments that nobody needs, oldest first; per session never one behind a needed one,
    /// so that a missing segment is always damage.
    pub(super) fn trimmable(&self) -> Vec<(NodeEpoch, u64)> {
        let mut free = Vec::new();
        let mut pinned = None;
        for (id, segment) in &self.segments {
            if pinned == Some(id.0) {
                continue;
            }
            if segment.footer > 0 && self.is_free(segment) {
                free.push(*id);
            } else {
                pinned = Some(id.0);
            }
        }
        free
    }

    /// The sessions with blocks of the region above `flushed_to`, and `current` last.
    pub(super) fn sources(&self, region: RegionId, flushed_to: Sequence, current: (NodeEpoch, u64)) -> Vec<Source> {
        let mut sources = BTreeMap::<NodeEpoch, u64>::new();
        for ((session, seq), segment) in &self.segments {
            if segment.last.get(&region).is_some_and(|last| *last > flushed_to) {
                sources.entry(*session).or_insert(*seq);
            }
        }
        sources.entry(current.0).or_insert(current.1);
        sources.into_iter().map(|(session, seq)| Source { session, first: vec![(0, seq)] }).collect()
    }

    /// Regions with unflushed blocks, those in the oldest segments first.
    pub(super) fn unflushed(&self) -> Vec<RegionId> {
        let mut regions = Vec::new();
        for segment in self.segments.values() {
            for (region, last) in &segment.last {
                let open = self.flushed.get(region).is_none_or(|flushed| flushed < last);
                if open && !regions.contains(region) {
                    regions.push(*region);
                }
            }
        }
        regions
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }
}
