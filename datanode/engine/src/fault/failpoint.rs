//! Named places where tests make the process stop, fail or wait.
//!
//! Without the feature `failpoints` a place compiles to nothing.

/// Stops here when the named point is switched on.
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        {
            $crate::fault::failpoint::hit($name);
        }
    };
}

#[cfg(feature = "failpoints")]
thread_local! {
    static HOOK: std::cell::RefCell<Option<std::rc::Rc<dyn Fn(&'static str)>>> = const { std::cell::RefCell::new(None) };
}

/// Asks this thread's hook, or crate `fail` (panic, sleep, pause, ..., set by `FAILPOINTS`) when there is none.
#[cfg(feature = "failpoints")]
pub fn hit(name: &'static str) {
    let hook = HOOK.with_borrow(Clone::clone);
    match hook {
        Some(hook) => hook(name),
        None => fail::fail_point!(name),
    }
}

/// Sets what happens at points passed by this thread: a simulation runs in one, and crate `fail` knows one process.
#[cfg(feature = "failpoints")]
pub fn set_hook(hook: Option<std::rc::Rc<dyn Fn(&'static str)>>) {
    HOOK.set(hook);
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
