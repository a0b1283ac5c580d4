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

/// Called with the name of every point that is passed.
#[cfg(feature = "failpoints")]
type Hook = std::rc::Rc<dyn Fn(&'static str)>;

#[cfg(feature = "failpoints")]
thread_local! {
    static HOOK: std::cell::RefCell<Option<Hook>> = const { std::cell::RefCell::new(None) };
}

/// Asks this thread's hook, or crate `fail` when there is none: `FAILPOINTS` sets panic, sleep, pause, and
/// `return`, which ends the process as `kill -9` does.
#[cfg(feature = "failpoints")]
pub fn hit(name: &'static str) {
    static LOADED: std::sync::Once = std::sync::Once::new();
    let hook = HOOK.with_borrow(Clone::clone);
    if let Some(hook) = hook {
        return hook(name);
    }
    // The scenario lives as long as the process; its end would switch the points off.
    LOADED.call_once(|| std::mem::forget(fail::FailScenario::setup()));
    fail::eval(name, |_| {
        let killed = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        unreachable!("a process that kills itself is gone: {killed:?}");
    });
}

/// Sets what happens at points passed by this thread: a simulation runs in one, and crate `fail` knows one process.
#[cfg(feature = "failpoints")]
pub fn set_hook(hook: Option<Hook>) {
    HOOK.set(hook);
}

/// All points that a node with a local log passes, so that a matrix can walk them and a test can tell one that is
/// never hit.
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

/// The points of the log on the object store and of sealing, beside [`ALL`].
pub const OBJECT_LOG: &[&str] = &[
    "wal.cut.before",
    "wal.put.before",
    "wal.put.after",
    "wal.ack.before",
    "seal.list.before",
    "seal.create.before",
    "seal.relist.before",
];
