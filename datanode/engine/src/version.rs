//! What readers of a region see: schema, memtables, files, deletes, index; one cheap snapshot.
//!
//! A view never changes. The region's worker replaces it; a reader keeps the one
//! it started with, and the files it names stay in the bucket until it is dropped.

use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use varve_model::Result;
use varve_model::id::Sequence;
use varve_model::table::{MergeMode, TableInfo, Ttl};
use varve_model::time::TimeRange;

use crate::fault::bug::{self, Bug};
use crate::format::block::Block;
use crate::index::SeriesIndex;
use crate::memtable::{Mask, Memtable};
use crate::sst::OpenFiles;
use crate::sst::meta::{FileMeta, FileName, Tombstone};

#[cfg(test)]
mod tests;

/// One snapshot of a region.
#[derive(Clone, Debug)]
pub struct View {
    /// The table, with the schema of this moment.
    pub table: Arc<TableInfo>,
    /// How long rows live.
    pub ttl: Ttl,
    /// The series; may know more than this view has rows of.
    pub index: Arc<SeriesIndex>,
    /// Data files named by the manifest.
    pub files: Arc<[FileMeta]>,
    /// Deletes named by the manifest.
    pub tombstones: Arc<[Tombstone]>,
    tombstone_masks: Arc<[Arc<Mask>]>,
    /// Rows up to this one are in files.
    pub flushed_to: Sequence,
    /// Footers and series tables of files.
    pub open_files: Arc<OpenFiles>,
    frozen: Vec<Arc<Frozen>>,
    active: Memtable,
}

/// A closed generation of rows, `(after, upto]`, on its way into files.
#[derive(Debug)]
pub struct Frozen {
    /// The sequence before its first row.
    pub after: Sequence,
    /// Its last sequence; all its rows get it as `__seq`.
    pub upto: Sequence,
    /// Its rows and deletes.
    pub memtable: Memtable,
}

impl View {
    /// Memtables in sequence order.
    pub fn memtables(&self) -> impl Iterator<Item = &Memtable> {
        self.frozen.iter().map(|frozen| &frozen.memtable).chain([&self.active])
    }

    /// All deletes: of files and of memtables.
    pub fn masks(&self) -> Vec<Arc<Mask>> {
        let of_memory = self.memtables().flat_map(|memtable| memtable.deletes().iter().cloned());
        self.tombstone_masks.iter().cloned().chain(of_memory).collect()
    }

    /// Deletes named by the manifest, ready to be tried on rows.
    pub fn tombstone_masks(&self) -> &[Arc<Mask>] {
        &self.tombstone_masks
    }

    /// The table's merge mode.
    pub fn mode(&self) -> MergeMode {
        self.table.options.merge_mode
    }

    /// Names of the columns that series are ordered by.
    pub fn key_columns(&self) -> Vec<String> {
        self.table.schema.key_columns().map(|column| column.name.clone()).collect()
    }

    /// The rows that have not expired at this wall clock time.
    pub fn alive(&self, wall_nanos: i64) -> TimeRange {
        let Some(ttl) = self.ttl.duration() else { return TimeRange::ALL };
        let unit = i128::from(1_000_000_000 / self.table.schema.time_unit().per_second());
        let oldest_nanos = i128::from(wall_nanos) - ttl.as_nanos().min(i128::MAX as u128 / 2) as i128;
        // Rounded up: a row at exactly now - ttl is the oldest that is read.
        let oldest = -((-oldest_nanos).div_euclid(unit));
        TimeRange { start: oldest.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64, end: i64::MAX }
    }

    /// Rows in memory, before merging.
    pub fn memtable_rows(&self) -> u64 {
        self.memtables().map(Memtable::rows).sum()
    }

    /// Bytes in memory.
    pub fn memtable_bytes(&self) -> u64 {
        self.memtables().map(Memtable::bytes).sum()
    }
}

/// The current view of a region, replaced by the region's worker only.
#[derive(Debug)]
pub struct VersionSet {
    view: RwLock<Arc<View>>,
    /// Views that readers may still hold.
    past: Mutex<Vec<Weak<View>>>,
}

impl VersionSet {
    /// A region as its manifest has it, with an empty memtable.
    pub fn new(
        table: Arc<TableInfo>,
        ttl: Ttl,
        index: Arc<SeriesIndex>,
        files: Vec<FileMeta>,
        tombstones: Vec<Tombstone>,
        flushed_to: Sequence,
    ) -> Self {
        let view = Arc::new(View {
            table,
            ttl,
            index,
            files: files.into(),
            tombstone_masks: masks_of(&tombstones),
            tombstones: tombstones.into(),
            flushed_to,
            open_files: Arc::new(OpenFiles::default()),
            frozen: Vec::new(),
            active: Memtable::new(flushed_to),
        });
        Self { view: RwLock::new(view), past: Mutex::new(Vec::new()) }
    }

    /// The current snapshot.
    pub fn view(&self) -> Arc<View> {
        self.view.read().clone()
    }

    fn change<T>(&self, change: impl FnOnce(&mut View) -> T) -> T {
        // Held for the whole change: the region's writer and its background work both change the view.
        let mut past = self.past.lock();
        let old = self.view();
        let mut next = View::clone(&old);
        let result = change(&mut next);
        past.retain(|view| view.strong_count() > 0);
        past.push(Arc::downgrade(&old));
        *self.view.write() = Arc::new(next);
        result
    }

    /// Makes a durable block readable. Blocks come in sequence order.
    /// Errors: `Corrupt` when its series contradict the index.
    pub fn apply(&self, block: Arc<Block>) -> Result<()> {
        let view = self.view();
        if !block.new_series.is_empty() {
            view.index.restore(block.first_new_series, &block.new_series)?;
        }
        drop(view);
        self.change(|view| view.active.apply(block));
        Ok(())
    }

    /// Closes the current generation; `None` when it is empty.
    pub fn freeze(&self) -> Option<Arc<Frozen>> {
        if self.view.read().active.is_empty() {
            return None;
        }
        Some(self.change(|view| {
            let upto = view.active.upto();
            let memtable = std::mem::replace(&mut view.active, Memtable::new(upto));
            let frozen = Arc::new(Frozen { after: memtable.after(), upto, memtable });
            view.frozen.push(frozen.clone());
            frozen
        }))
    }

    /// Takes over what a manifest commit made of the region; the flushed generation is dropped.
    pub fn install(&self, files: Vec<FileMeta>, tombstones: Vec<Tombstone>, flushed: Option<&Frozen>) {
        self.change(|view| {
            view.files = files.into();
            view.tombstone_masks = masks_of(&tombstones);
            view.tombstones = tombstones.into();
            if let Some(flushed) = flushed {
                if !bug::is(Bug::MemtableReadTwice) {
                    view.frozen.retain(|frozen| frozen.upto > flushed.upto);
                }
                view.flushed_to = view.flushed_to.max(flushed.upto);
            }
        });
    }

    /// Takes over a changed table.
    pub fn alter(&self, table: Arc<TableInfo>, ttl: Ttl) {
        self.change(|view| {
            view.table = table;
            view.ttl = ttl;
        });
    }

    /// Drops all rows: memtables, files and deletes. The sequence goes on.
    pub fn clear(&self) {
        self.change(|view| {
            let upto = view.active.upto();
            view.frozen.clear();
            view.active = Memtable::new(upto);
            view.files = Arc::new([]);
            view.tombstones = Arc::new([]);
            view.tombstone_masks = Arc::new([]);
            view.flushed_to = upto;
        });
    }

    /// Bytes of memtables, frozen ones included.
    pub fn memtable_bytes(&self) -> u64 {
        self.view.read().memtable_bytes()
    }

    /// Rows of memtables, frozen ones included.
    pub fn memtable_rows(&self) -> u64 {
        self.view.read().memtable_rows()
    }

    /// Whether the current view or one that a reader still holds names this file.
    pub fn in_use(&self, name: FileName) -> bool {
        let names = |view: &View| view.files.iter().any(|file| file.name == name);
        names(&self.view()) || self.past.lock().iter().filter_map(Weak::upgrade).any(|view| names(&view))
    }
}

fn masks_of(tombstones: &[Tombstone]) -> Arc<[Arc<Mask>]> {
    tombstones.iter().map(|tombstone| Arc::new(Mask::from(tombstone))).collect()
}
