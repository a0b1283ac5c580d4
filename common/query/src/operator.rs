//! Our physical operators.

mod cast;
mod reader;
mod region_scan;

pub use reader::{BatchStream, Reader, RegionReader};
pub use region_scan::{RegionScanExec, ScanRegion, ScanSource};
