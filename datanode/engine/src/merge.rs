//! Merging: rows of several sources become one sorted run per series.
//!
//! Flush, compaction and scan merge by the same code, so that an answer cannot
//! depend on how far rows have come. Work goes series by series over groups of
//! series, never row by row over all sources.

mod group;
mod readers;
mod rows;
mod source;
#[cfg(test)]
mod tests;

pub use group::{Counted, components, groups, is_long};
pub use readers::Readers;
pub use rows::{Merger, Rules};
pub use source::{Source, series_of};
