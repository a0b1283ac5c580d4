//! Which files are rewritten together. Pure: a function of the manifest and the clock.
//!
//! Only whole closed windows, so that an open one is not rewritten with every
//! flush. Inputs are always convex: no file outside them holds rows of the same
//! window that are newer than some input and older than another, so that fields
//! of rows may be merged.

use std::collections::BTreeMap;

use varve_model::time::{TimeRange, TimeUnit};

use crate::sst::bucket::{self, FINAL_HOURS, YOUNG_HOURS};
use crate::sst::meta::{FileMeta, FileName, Tombstone};

/// Inputs of one compaction: bounds its memory and time.
const INPUTS_MAX: usize = 32;
/// How long after its end a window may still get rows before it counts as closed.
const LATENESS_NANOS: i128 = 600_000_000_000;
/// Files beside a large one that make its rewriting worth while, whatever their size.
const FILES_MIN: usize = 8;
/// Share of a large file that files beside it must reach to have it rewritten.
const GROWTH: u64 = 10;

/// The time of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Wall clock, nanoseconds since the epoch.
    pub wall_nanos: i64,
    /// The unit of the table's timestamps.
    pub unit: TimeUnit,
}

/// Whether windows must be closed and worth it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// As the background does.
    No,
    /// Everything into its final order now.
    Final,
}

/// Files to rewrite together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Names, in sequence order.
    pub inputs: Vec<FileName>,
    /// Length of the buckets of the output.
    pub width: i64,
    /// Level of the output.
    pub level: u8,
}

impl Now {
    fn closed(self, window: TimeRange, force: Force) -> bool {
        let unit = i128::from(1_000_000_000 / self.unit.per_second());
        force == Force::Final || i128::from(window.end) * unit + LATENESS_NANOS < i128::from(self.wall_nanos)
    }
}

/// The next compaction, oldest window first; `None` when there is nothing to do.
/// Deletes do not matter: they are applied to whatever is rewritten, and stay.
pub fn pick(files: &[FileMeta], _tombstones: &[Tombstone], now: Now, force: Force) -> Option<Task> {
    let widths = Widths { young: bucket::width(YOUNG_HOURS, now.unit), last: bucket::width(FINAL_HOURS, now.unit) };
    if let Some(task) = split_late(files, now, force, &widths) {
        return Some(task);
    }
    let mut days: BTreeMap<i64, Vec<&FileMeta>> = BTreeMap::new();
    for file in files {
        if let Some(bucket) = file.bucket {
            days.entry(bucket::number(bucket.start, widths.last)).or_default().push(file);
        }
    }
    days.into_iter().find_map(|(day, mut inside)| {
        inside.sort_by_key(|file| (file.seq, file.name));
        let window = bucket::bucket(day, widths.last).time();
        if !now.closed(window, force) {
            return young(&inside, files, now, force, &widths);
        }
        if inside.len() > INPUTS_MAX {
            return young(&inside, files, now, Force::Final, &widths)
                .or_else(|| longest_run(&inside, files, widths.last));
        }
        let done = inside.iter().all(|file| file.bucket.is_some_and(|bucket| bucket.width == widths.last));
        (!(done && inside.len() == 1) && worth(&inside, widths.last, force))
            .then(|| task(&inside, files, widths.last, 2))
            .flatten()
    })
}

/// A part of a closed day that has too many files for one task: neighbours in sequence order, the oldest first.
fn longest_run(inside: &[&FileMeta], files: &[FileMeta], width: i64) -> Option<Task> {
    (0..inside.len() - 1).find_map(|first| {
        let longest = inside.len().min(first + INPUTS_MAX);
        (first + 2..=longest).rev().find_map(|end| task(&inside[first..end], files, width, 2))
    })
}

struct Widths {
    young: i64,
    last: i64,
}

/// Late rows of several buckets share a file: alone, it is cut into files of one bucket each.
fn split_late(files: &[FileMeta], now: Now, force: Force, widths: &Widths) -> Option<Task> {
    let late = files.iter().filter(|file| file.bucket.is_none() && now.closed(file.time, force));
    let file = late.min_by_key(|file| (file.seq, file.name))?;
    let newest_day = bucket::bucket(bucket::number(file.time.end, widths.last), widths.last);
    let (width, level) = if now.closed(newest_day.time(), force) { (widths.last, 2) } else { (widths.young, 1) };
    Some(Task { inputs: vec![file.name], width, level })
}

/// A closed young window of several files: in an open day, or in one with too many files for one task.
fn young(inside: &[&FileMeta], files: &[FileMeta], now: Now, force: Force, widths: &Widths) -> Option<Task> {
    let mut windows: BTreeMap<i64, Vec<&FileMeta>> = BTreeMap::new();
    for file in inside {
        if let Some(bucket) = file.bucket.filter(|bucket| bucket.width == widths.young) {
            windows.entry(bucket.start).or_default().push(file);
        }
    }
    windows.into_values().find_map(|mut group| {
        let window = group[0].bucket?.time();
        if group.len() < 2 || !now.closed(window, force) || !worth(&group, widths.young, force) {
            return None;
        }
        // The oldest first: what is left over is newer than all of them.
        group.truncate(INPUTS_MAX);
        task(&group, files, widths.young, 1)
    })
}

/// Whether rewriting pays: a window that was compacted before must have grown enough.
fn worth(inside: &[&FileMeta], width: i64, force: Force) -> bool {
    let compacted = |file: &&&FileMeta| file.level > 0 && file.bucket.is_some_and(|bucket| bucket.width == width);
    let Some(large) = inside.iter().filter(compacted).map(|file| file.rows).max() else { return true };
    let rest = inside.iter().map(|file| file.rows).sum::<u64>() - large;
    force == Force::Final || inside.len() > FILES_MIN || rest * GROWTH >= large
}

fn task(inputs: &[&FileMeta], files: &[FileMeta], width: i64, level: u8) -> Option<Task> {
    is_convex(inputs, files, &[]).then(|| Task { inputs: inputs.iter().map(|file| file.name).collect(), width, level })
}

/// Whether fields of rows of these files may be merged into one row: no other file, and no tombstone that was not
/// applied to them, has rows in their time with a sequence strictly between their lowest and highest.
pub fn is_convex(inputs: &[&FileMeta], files: &[FileMeta], unapplied: &[Tombstone]) -> bool {
    let low = inputs.iter().map(|file| file.seq.0).min().unwrap_or_default();
    let high = inputs.iter().map(|file| file.seq.1).max().unwrap_or_default();
    let time = inputs.iter().fold(TimeRange::EMPTY, |time, file| time.union(file.time));
    let outside = files.iter().filter(|file| !inputs.iter().any(|input| input.name == file.name));
    let file_between = |file: &FileMeta| file.time.overlaps(time) && file.seq.0 < high && low < file.seq.1;
    let mask_between = |mask: &Tombstone| mask.time.overlaps(time) && low < mask.sequence && mask.sequence < high;
    !outside.into_iter().any(file_between) && !unapplied.iter().any(mask_between)
}
