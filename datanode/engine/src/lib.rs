#![doc = include_str!("../README.md")]

#[macro_use]
pub mod fault;
pub mod compaction;
pub mod engine;
pub mod flush;
pub mod format;
pub mod gc;
pub mod index;
pub mod manifest;
pub mod memtable;
pub mod merge;
pub mod region;
pub mod scan;
pub mod sst;
pub mod store;
#[cfg(test)]
mod tests;
pub mod version;
pub mod wal;

pub use engine::{Engine, EngineSetup, Log, Prepared};
pub use region::options::EngineOptions;
pub use region::{Ack, Region, RegionDescription};
