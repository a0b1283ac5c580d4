//! Background work of a node: looks at all regions every tick, flushes, compacts, deletes.

use std::sync::Arc;
use std::time::Duration;

use varve_model::{Error, ErrorKind};

use super::Inner;
use crate::compaction::Force;
use crate::flush::schedule::{NodeLoad, RegionLoad, pick};
use crate::region::Region;

/// Runs until the task set stops.
pub(super) async fn keep(inner: Arc<Inner>) {
    let (clock, token) = (Arc::clone(&inner.setup.clock), inner.setup.tasks.token().clone());
    let mut compacted = clock.boot();
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
        if clock.boot().saturating_sub(compacted) >= inner.setup.options.compact_every {
            for region in owned(&inner) {
                report(&region, "compact", region.compact(Force::No).await);
            }
            compacted = clock.boot();
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
fn report(region: &Region, doing: &str, result: Result<(), Error>) {
    if let Err(error) = result {
        if error.kind() == ErrorKind::Fenced {
            tracing::warn!(region = %region.id(), %error, doing, "the region has a newer owner");
        } else {
            tracing::warn!(region = %region.id(), %error, doing, "background work failed and will be tried again");
        }
    }
}
