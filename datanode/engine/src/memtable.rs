//! Rows and deletes that are durable in the WAL and not yet in files.
//!
//! Parts are WAL blocks, shared and readable at once, and sealed parts: when
//! enough parts of one tier have come they are sealed into one, so that a
//! reader meets few parts however small the blocks are. A memtable is a value:
//! changing a clone leaves the readers of the original alone.

use std::sync::Arc;

use varve_model::id::Sequence;
use varve_model::time::TimeRange;

use crate::format::block::{Block, BlockBody};

pub mod delete;
mod part;
mod seal;
#[cfg(test)]
mod tests;

pub use delete::Mask;
pub use part::{Groups, Part};

/// Rows above which waiting blocks are sealed: about 20 ms of one core's work.
const SEAL_ROWS: usize = 128 << 10;
/// Parts of one tier that are sealed together, so that a row is sealed a few times at most.
const SEAL_PARTS: usize = 32;
/// The tier of parts that are large enough to stay as they are.
const TIER_FINAL: u8 = u8::MAX;

/// A generation of rows. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Memtable {
    /// In sequence order.
    parts: Vec<Part>,
    deletes: Vec<Arc<Mask>>,
    after: Sequence,
    upto: Sequence,
    rows: u64,
    bytes: u64,
}

impl Memtable {
    /// An empty generation whose first row comes after this sequence.
    pub fn new(after: Sequence) -> Self {
        Self { parts: Vec::new(), deletes: Vec::new(), after, upto: after, rows: 0, bytes: 0 }
    }

    /// Adds a durable block. Precondition: blocks come in sequence order.
    pub fn apply(&mut self, block: Arc<Block>) {
        if block.rows() == 0 {
            return;
        }
        debug_assert!(block.first_seq > self.upto, "blocks come in sequence order");
        self.upto = block.last_seq();
        self.bytes += block.bytes_len() as u64;
        match &block.body {
            BlockBody::Rows { .. } => {
                self.rows += block.rows();
                self.parts.push(Part::Block(Arc::new(part::BlockPart::new(block))));
                self.seal();
            }
            BlockBody::Delete { series, time } => {
                self.deletes.push(Arc::new(Mask::new(block.first_seq, series.as_deref(), *time)));
            }
        }
    }

    /// Seals the last parts of one tier while they are many or large.
    fn seal(&mut self) {
        while let Some(last) = self.parts.last() {
            let tier = last.tier();
            if tier == TIER_FINAL {
                return;
            }
            let from = self.parts.iter().rposition(|part| part.tier() != tier).map_or(0, |at| at + 1);
            let run = &self.parts[from..];
            let rows = run.iter().map(Part::rows).sum::<usize>();
            if run.len() < SEAL_PARTS && rows < SEAL_ROWS {
                return;
            }
            let next = if rows >= SEAL_ROWS { TIER_FINAL } else { tier + 1 };
            let before = run.iter().map(Part::bytes).sum::<u64>();
            let sealed = Part::Sorted(Arc::new(seal::seal(run, next)));
            self.bytes = self.bytes - before.min(self.bytes) + sealed.bytes();
            self.parts.truncate(from);
            self.parts.push(sealed);
        }
    }

    /// Parts in sequence order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Deletes in sequence order.
    pub fn deletes(&self) -> &[Arc<Mask>] {
        &self.deletes
    }

    /// The sequence before the first.
    pub fn after(&self) -> Sequence {
        self.after
    }

    /// The last sequence taken.
    pub fn upto(&self) -> Sequence {
        self.upto
    }

    /// Rows held, before merging.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether nothing happened in this generation.
    pub fn is_empty(&self) -> bool {
        self.upto == self.after
    }

    /// Smallest and largest timestamp of the rows.
    pub fn time(&self) -> TimeRange {
        self.parts.iter().fold(TimeRange::EMPTY, |time, part| time.union(part.time()))
    }
}
