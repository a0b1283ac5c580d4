//! Parquet data files with their sidecars.

pub mod meta;
