//! When a region is flushed.
