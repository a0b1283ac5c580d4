//! Files that others refer to: who owns them deletes none of them, and who shares them reads them.

use std::collections::BTreeSet;

use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::*;
use crate::gc::reference::{Reference, Referred};
use crate::manifest::{Claimant, Create, Edit, Manifest, ManifestState, read_head};
use crate::sst::meta::FileName;
use crate::store::path::Referrer;

/// Another region, which shares files.
const CLONE: RegionId = RegionId(2 << 32);

async fn head(machine: &Machine, process: &Process) -> ManifestState {
    let mut ctx = process.engine.inner.context(REGION, RegionEpoch(0));
    ctx.store = machine.store.clone();
    read_head(&ctx).await.unwrap().unwrap()
}

fn name_of(referrer: &str) -> Path {
    RegionPaths::new(REGION).reference(&Referrer::try_from(referrer.to_owned()).unwrap())
}

/// As a later varve would: names files of the head.
async fn refer(machine: &Machine, referrer: &str, names: impl IntoIterator<Item = FileName>) {
    let reference = Reference {
        region: REGION,
        referrer: Referrer::try_from(referrer.to_owned()).unwrap(),
        nonce: Nonce(1),
        version: 1,
        files: Referred::Names(names.into_iter().collect()),
    };
    machine.store.put(&name_of(referrer), reference.encode().into()).await.unwrap();
}

/// Stems of what lies in a folder.
async fn stored(machine: &Machine, folder: Path) -> BTreeSet<FileName> {
    let listed = machine.store.list(Some(&folder)).collect::<Vec<_>>().await;
    listed.into_iter().map(|meta| crate::store::path::file_of(&meta.unwrap().location).unwrap()).collect()
}

async fn files(machine: &Machine) -> BTreeSet<FileName> {
    stored(machine, RegionPaths::new(REGION).files()).await
}

/// Writes and flushes one file; returns its name.
async fn flushed(machine: &Machine, process: &Process, value: i64) -> FileName {
    let before = files(machine).await;
    process.write(&[("a", NOW, value)]).await.unwrap();
    process.region.flush().await.unwrap();
    let after = files(machine).await;
    *after.difference(&before).next().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_file_goes_when_no_reference_names_it() {
    let mut machine = Machine::new();
    let process = machine.start().await;
    let clock = Arc::clone(&process.engine.inner.setup.clock);
    let (one, two) = (flushed(&machine, &process, 1).await, flushed(&machine, &process, 2).await);
    refer(&machine, "backup-1", [one]).await;
    process.region.compact_all().await.unwrap();
    clock.sleep(Duration::from_secs(130)).await;
    let left = files(&machine).await;
    assert!(left.contains(&one) && !left.contains(&two), "{left:?}");
    assert_eq!(process.rows().await, owned(&[("a", NOW, 2)]));

    machine.store.delete(&name_of("backup-1")).await.unwrap();
    clock.sleep(Duration::from_secs(130)).await;
    assert!(files(&machine).await.contains(&one), "an idle region asks the bucket nothing");
    flushed(&machine, &process, 3).await;
    process.region.compact_all().await.unwrap();
    clock.sleep(Duration::from_secs(130)).await;
    assert_eq!(files(&machine).await.len(), 1, "the file that is read, and no other");
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_owner_removed_stays_while_it_is_referred_to() {
    let mut machine = Machine::new();
    machine.options.orphan_age = Duration::ZERO;
    let process = machine.start().await;
    let (one, two) = (flushed(&machine, &process, 1).await, flushed(&machine, &process, 2).await);
    process.region.compact_all().await.unwrap();
    refer(&machine, "backup-1", [one]).await;
    machine.kill(process);
    let process = machine.start().await;
    process.region.collect_orphans().await.unwrap();
    let left = files(&machine).await;
    assert!(left.contains(&one) && !left.contains(&two), "{left:?}");
    machine.store.delete(&name_of("backup-1")).await.unwrap();
    process.region.collect_orphans().await.unwrap();
    assert_eq!(files(&machine).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_region_leaves_what_others_need() {
    let mut machine = Machine::new();
    let process = machine.start().await;
    let (one, _) = (flushed(&machine, &process, 1).await, flushed(&machine, &process, 2).await);
    let index = head(&machine, &process).await.index[0].name;
    refer(&machine, "backup-1", [one, index]).await;
    process.engine.drop_region(REGION).await.unwrap();
    assert_eq!(files(&machine).await, BTreeSet::from([one]));
    assert_eq!(stored(&machine, RegionPaths::new(REGION).indexes()).await, BTreeSet::from([index]));
}

#[tokio::test(start_paused = true)]
async fn a_region_reads_files_of_another_and_removes_none_of_them() {
    let mut machine = Machine::new();
    let process = machine.start().await;
    flushed(&machine, &process, 1).await;
    process.write(&[("b", NOW, 2)]).await.unwrap();
    process.region.flush().await.unwrap();
    let source = head(&machine, &process).await;
    refer(&machine, "region-clone", source.files.iter().map(|file| file.name)).await;
    let inner = &process.engine.inner;
    let create = Create { table: source.table.clone(), ttl: source.ttl };
    let claimant = Claimant { session: inner.epoch, create, checkpoint_every: 4, wal: &*inner.wal };
    let mut manifest = Manifest::open(inner.context(CLONE, RegionEpoch(1)), claimant).await.unwrap();
    let index = source.index.iter();
    let index = index.map(|segment| crate::index::meta::IndexSegmentMeta { origin: Some(REGION), ..*segment });
    let shared = Edit {
        flushed_to: source.flushed_to,
        sources: manifest.state().sources.clone(),
        next_series: source.next_series,
        at_s: 0,
        add: source.files.clone(),
        remove: Vec::new(),
        index: index.collect(),
        tombstones: Vec::new(),
        tombstones_done: Vec::new(),
        tokens: Vec::new(),
        change: None,
        consumers: Vec::new(),
    };
    manifest.commit(shared).await.unwrap();
    drop(manifest);
    let table = Arc::new(source.table.clone());
    let region = process.engine.open(CLONE, RegionEpoch(2), table, Ttl::Forever).await.unwrap();
    region.permit(Permit { epoch: RegionEpoch(2), valid_until: Duration::MAX });
    let clone = Process { engine: process.engine.clone(), region, tasks: process.tasks.clone() };
    assert_eq!(clone.rows().await, owned(&[("a", NOW, 1), ("b", NOW, 2)]));

    clone.region.compact_all().await.unwrap();
    process.engine.inner.setup.clock.sleep(Duration::from_secs(130)).await;
    assert_eq!(clone.rows().await, process.rows().await);
    assert_eq!(clone.region.statistics().files, 1);
    assert_eq!(files(&machine).await, source.files.iter().map(|file| file.name).collect());
}
