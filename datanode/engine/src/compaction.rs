//! Picking and merging files.
