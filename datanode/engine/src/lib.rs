#![doc = include_str!("../README.md")]

#[macro_use]
pub mod failpoint;
pub mod bug;
pub mod compaction;
pub mod engine;
pub mod flush;
pub mod format;
pub mod gc;
pub mod index;
pub mod manifest;
pub mod memtable;
pub mod merge;
pub mod options;
pub mod region;
pub mod scan;
pub mod sst;
pub mod store;
#[cfg(test)]
mod tests;
pub mod version;
pub mod wal;

pub use engine::{Engine, EngineSetup, Prepared};
pub use options::EngineOptions;
pub use region::{Ack, Region, RegionDescription};
