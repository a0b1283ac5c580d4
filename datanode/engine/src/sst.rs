//! Parquet data files with their sidecars.
//!
//! A file is ordered by (time bucket, series key, ts) and readable by anyone; its
//! sidecar tells where each series lies and the checksum of each column chunk,
//! so that a reader fetches, checks and decodes only what it needs.

pub mod bucket;
mod cache;
pub mod encoding;
pub mod meta;
mod open;
mod piece;
mod read;
pub mod schema;
pub mod sidecar;
mod sparse;
#[cfg(test)]
mod tests;
pub mod types;
mod write;

pub use open::{OpenFile, OpenFiles};
pub use piece::{Piece, Projection, Rows, Seq};
pub use read::Cursor;
pub use sidecar::Run;
pub use write::{Encoded, FileSpec, Writer};
