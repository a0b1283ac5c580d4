//! Our physical operators.

mod cast;
mod leaf;
mod reader;
mod region_scan;

pub use leaf::{Batches, Leaf, Rows};
pub use reader::{BatchStream, Reader, RegionReader};
pub use region_scan::{RegionScanExec, ScanRegion, ScanSource};
