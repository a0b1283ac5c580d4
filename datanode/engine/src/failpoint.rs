//! Named places where tests make the process stop, fail or wait.
//!
//! Without the feature `failpoints` a place compiles to nothing.

/// Stops here when the named point is switched on (crate `fail`: panic, sleep, pause, ...).
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        {
            fail::fail_point!($name);
        }
    };
}

/// All points, so that a matrix can walk them and a test can tell one that is never hit.
pub const ALL: &[&str] = &[
    "wal.append.before",
    "wal.fdatasync.before",
    "wal.fdatasync.after",
    "wal.rotate.before",
    "wal.rotate.after",
    "wal.trim.before",
    "wal.trim.after",
    "manifest.claim.before",
    "manifest.claim.after",
    "manifest.commit.before",
    "manifest.commit.after",
    "manifest.checkpoint.before",
    "manifest.checkpoint.after",
    "flush.freeze.before",
    "flush.freeze.after",
    "flush.sst.before",
    "flush.sst.after",
    "flush.sidecar.before",
    "flush.sidecar.after",
    "flush.release.before",
    "flush.release.after",
    "compaction.upload.before",
    "compaction.upload.after",
    "compaction.commit.before",
    "compaction.commit.after",
    "compaction.delete.before",
    "compaction.delete.after",
    "region.open.before",
    "region.open.after",
    "region.replay.before",
    "region.replay.after",
];
