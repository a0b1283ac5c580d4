//! Background work of a node: looks at all regions every tick, flushes and deletes; beside that, compacts.
//!
//! A compaction may take minutes, and memory has to be given back meanwhile: it
//! has a loop of its own. There the regions take turns, one task each.

use std::sync::Arc;
use std::time::Duration;

use varve_model::{Error, ErrorKind};

use super::Inner;
use crate::flush::schedule::{NodeLoad, RegionLoad, pick};
use crate::region::Region;

/// Flushes and deletes until the task set stops.
pub(super) async fn keep(inner: Arc<Inner>) {
    let (clock, token) = (Arc::clone(&inner.setup.clock), inner.setup.tasks.token().clone());
    let mut swept = std::collections::BTreeSet::new();
    loop {
        tokio::select! {
            () = token.cancelled() => return,
            () = clock.sleep(inner.setup.options.tick) => {}
        }
        flush_due(&inner).await;
        for region in owned(&inner) {
            report(&region, "delete files", region.collect().await);
            // Orphans are left by earlier owners only, so once per grant is enough.
            if swept.insert((region.id(), region.epoch())) {
                report(&region, "delete orphans", region.collect_orphans().await);
            }
        }
    }
}

/// Compacts until the task set stops.
pub(super) async fn compact(inner: Arc<Inner>) {
    let (clock, token) = (Arc::clone(&inner.setup.clock), inner.setup.tasks.token().clone());
    loop {
        tokio::select! {
            () = token.cancelled() => return,
            () = clock.sleep(inner.setup.options.compact_every) => {}
        }
        let mut is_due = true;
        while is_due && !token.is_cancelled() {
            is_due = false;
            for region in owned(&inner) {
                is_due |= report(&region, "compact", region.compact().await).unwrap_or(false);
            }
        }
    }
}

/// Open regions without those that a newer owner has taken.
fn owned(inner: &Inner) -> Vec<Arc<Region>> {
    inner.regions().into_iter().filter(|region| !region.is_fenced()).collect()
}

async fn flush_due(inner: &Inner) {
    let regions = owned(inner);
    let now = inner.setup.clock.boot();
    let load = |region: &Arc<Region>| {
        let (bytes, oldest) = region.shared().load();
        RegionLoad { region: region.id(), bytes, age: oldest.map(|at: Duration| now.saturating_sub(at)) }
    };
    let loads = regions.iter().map(load).collect::<Vec<_>>();
    let wal = inner.wal.status();
    let node = NodeLoad {
        wal_bytes: wal.bytes,
        memory_bytes: inner.memtables.bytes(),
        memory_bytes_max: inner.memtables.bytes_max(),
    };
    // Nothing is left to flush of these, but their manifests still name logs of sessions that are gone.
    let inherited = |region: &&Arc<Region>| {
        wal.inherited.contains(&region.id())
            && loads.iter().any(|load| load.region == region.id() && load.age.is_none())
    };
    for region in regions.iter().filter(inherited) {
        report(region, "let go of earlier sessions", region.flush().await);
    }
    let due = pick(&inner.setup.options.flush, node, &loads, &wal.regions);
    for region in regions.iter().filter(|region| due.contains(&region.id())) {
        report(region, "flush", region.flush().await);
    }
}

/// A failed attempt is repeated at a later tick; losing the region to a newer owner ends it.
fn report<T>(region: &Region, doing: &str, result: Result<T, Error>) -> Option<T> {
    let failed = |error: &Error| {
        if error.kind() == ErrorKind::Fenced {
            tracing::warn!(region = %region.id(), %error, doing, "the region has a newer owner");
        } else {
            tracing::warn!(region = %region.id(), %error, doing, "background work failed and will be tried again");
        }
    };
    result.inspect_err(failed).ok()
}
