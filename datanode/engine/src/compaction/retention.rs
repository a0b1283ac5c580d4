//! Files whose rows have all expired. Pure.

use varve_model::time::TimeRange;

use crate::sst::meta::{FileMeta, FileName};

/// Files without a row inside `alive`: every read filters them out already, so they may go.
pub fn expired(files: &[FileMeta], alive: TimeRange) -> Vec<FileName> {
    files.iter().filter(|file| !file.time.overlaps(alive)).map(|file| file.name).collect()
}
