//! The storage engine: WAL, memtable, SST, manifest, series index.
