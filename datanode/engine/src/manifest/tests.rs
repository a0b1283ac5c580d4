//! The manifest: two claimers, lost replies, zombies, checkpoints, damage.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use varve_model::budget::Account;
use varve_model::id::*;
use varve_model::partition::Partition;
use varve_model::schema::{LogicalType, NewColumn, Schema};
use varve_model::table::{TableInfo, TableOptions, Ttl};
use varve_model::time::{TimeRange, TimeUnit};
use varve_service::clock::{ManualClock, SharedClock};
use varve_service::task::{Blocking, TaskSet};

use super::*;
use crate::format::block::Block;
use crate::format::fixture;
use crate::sst::meta::{Bucket, FileMeta, FileName, IndexSegmentMeta, Tombstone, TombstoneSeries};
use crate::store::fault::{FaultRates, FaultStore};
use crate::store::overtaken::Overtaken;
use crate::store::path::RegionPaths;
use crate::wal::{EncodedBlock, Pending, Source, Wal, WalStatus};

const REGION: RegionId = RegionId(3 << 32);

/// A log without rows.
#[derive(Debug)]
struct NoWal(NodeEpoch);

#[async_trait]
impl Wal for NoWal {
    async fn append(&self, _: EncodedBlock) -> Result<Pending> {
        Err(Error::unavailable("no log"))
    }

    fn replay(&self, _: RegionId, _: Sequence, _: &[Source]) -> BoxStream<'static, Result<Block>> {
        Box::pin(futures::stream::empty())
    }

    fn sources(&self, _: RegionId, _: Sequence, _: &[Source]) -> Vec<Source> {
        vec![Source { session: self.0, first: vec![(0, 0)] }]
    }

    async fn check_sources(&self, _: &[Source]) -> Result<()> {
        Ok(())
    }

    async fn check_session(&self) -> Result<()> {
        Ok(())
    }

    async fn trim(&self, _: RegionId, _: Sequence) -> Result<()> {
        Ok(())
    }

    async fn seal(&self) -> Result<()> {
        Ok(())
    }

    fn status(&self) -> WalStatus {
        WalStatus::default()
    }
}

fn create() -> Create {
    let columns = vec![
        NewColumn::tag("host"),
        NewColumn::time("time", TimeUnit::Nanosecond),
        NewColumn::field("value", LogicalType::Float64),
    ];
    let table = TableInfo {
        id: TableId(3),
        database: DatabaseId(1),
        name: "cpu".to_owned(),
        incarnation: Incarnation(0x1234_5678_9abc_def0_1122_3344_5566_7788),
        schema: Schema::create(columns, &[]).unwrap(),
        options: TableOptions::default(),
        partition: Partition::even(1).unwrap(),
        created_ms: 1,
        requires: Vec::new(),
    };
    Create { table, ttl: Ttl::For(Duration::from_hours(1)) }
}

fn context(store: Arc<dyn ObjectStore>, epoch: u64, clock: &SharedClock) -> FileContext {
    FileContext {
        store,
        region: REGION,
        paths: Arc::new(RegionPaths::new(REGION)),
        clock: Arc::clone(clock),
        tasks: TaskSet::new(Blocking::Inline),
        account: Account::root("test", u64::MAX / 2),
        region_epoch: RegionEpoch(epoch),
    }
}

async fn open(ctx: FileContext) -> Result<Manifest> {
    let session = NodeEpoch(ctx.region_epoch.0 + 100);
    let wal = NoWal(session);
    Manifest::open(ctx, Claimant { session, create: create(), checkpoint_every: 4, wal: &wal }).await
}

fn file(number: u64) -> FileMeta {
    FileMeta {
        name: FileName::new(RegionEpoch(1), u128::from(number)),
        origin: REGION,
        series_offset: 0,
        bytes: 1000,
        crc32c: 1,
        sidecar_bytes: 10,
        sidecar_crc32c: 2,
        rows: 5,
        time: TimeRange { start: 0, end: 9 },
        bucket: Some(Bucket { start: 0, width: 10 }),
        level: 0,
        rollup: 0,
        seq: (Sequence(number), Sequence(number)),
        unique: true,
        schema_version: SchemaVersion(0),
        order: 1,
        series: 2,
        key_range: None,
    }
}

fn edit(flushed_to: u64) -> Edit {
    Edit {
        flushed_to: Sequence(flushed_to),
        sources: vec![Source { session: NodeEpoch(1), first: vec![(0, 2)] }],
        next_series: SeriesId(0),
        at_s: 1_760_000_000,
        add: vec![file(flushed_to)],
        remove: Vec::new(),
        index: Vec::new(),
        tombstones: Vec::new(),
        tombstones_done: Vec::new(),
        tokens: Vec::new(),
        change: None,
        consumers: Vec::new(),
    }
}

fn clock(seed: u64) -> SharedClock {
    Arc::new(ManualClock::new(seed, 1_760_000_000_000_000_000))
}

#[tokio::test(start_paused = true)]
async fn the_head_is_found_behind_checkpoints_and_collected_versions() {
    let (store, clock) = (Arc::new(InMemory::new()), clock(1));
    let mut manifest = open(context(store.clone(), 1, &clock)).await.unwrap();
    for number in 1..=30 {
        manifest.commit(edit(number)).await.unwrap();
        let (head, _) = head::read(&context(store.clone(), 1, &clock)).await.unwrap().unwrap();
        assert_eq!(head, *manifest.state(), "version {number}");
    }
    let paths = RegionPaths::new(REGION);
    let left = head::list(&context(store.clone(), 1, &clock), &paths.manifests(), None).await.unwrap();
    assert!(left.len() < 10, "{} versions left", left.len());
    let reopened = open(context(store, 2, &clock)).await.unwrap();
    assert_eq!(reopened.state().version, 31);
    assert_eq!(reopened.state().files.len(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_was_overtaken_by_two_checkpoints_reads_again() {
    for had_checkpoint in [false, true] {
        let (store, clock) = (Arc::new(InMemory::new()), clock(8));
        let mut owner = open(context(store.clone(), 1, &clock)).await.unwrap();
        let before = if had_checkpoint { 5 } else { 2 };
        for number in 1..=before {
            owner.commit(edit(number)).await.unwrap();
        }
        let overtaken_by = async move {
            for number in before + 1..=20 {
                owner.commit(edit(number)).await.unwrap();
            }
        };
        let slow = Overtaken::new(store.clone(), RegionPaths::new(REGION).manifests(), 0, overtaken_by);
        let (head, _) = head::read(&context(Arc::new(slow), 1, &clock)).await.unwrap().unwrap();
        assert_eq!(head.version, 20);
        assert!(store.get(&RegionPaths::new(REGION).manifest(before + 1)).await.is_err(), "what was read is collected");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_claim_no_older_epoch_commits() {
    let (store, clock) = (Arc::new(InMemory::new()), clock(2));
    let mut old = open(context(store.clone(), 1, &clock)).await.unwrap();
    old.commit(edit(1)).await.unwrap();
    let mut new = open(context(store.clone(), 2, &clock)).await.unwrap();
    assert_eq!(old.commit(edit(2)).await.unwrap_err().kind(), ErrorKind::Fenced);
    new.commit(edit(2)).await.unwrap();
    assert_eq!(open(context(store.clone(), 1, &clock)).await.unwrap_err().kind(), ErrorKind::Fenced);
}

#[tokio::test(start_paused = true)]
async fn a_zombie_cannot_commit_into_a_collected_slot() {
    let (store, clock) = (Arc::new(InMemory::new()), clock(3));
    let mut zombie = open(context(store.clone(), 1, &clock)).await.unwrap();
    let mut owner = open(context(store.clone(), 2, &clock)).await.unwrap();
    for number in 1..=20 {
        owner.commit(edit(number)).await.unwrap();
    }
    let slot = RegionPaths::new(REGION).manifest(1);
    assert!(store.get(&slot).await.is_err(), "version 1 is collected");
    assert_eq!(zombie.commit(edit(1)).await.unwrap_err().kind(), ErrorKind::Fenced);
}

#[tokio::test(start_paused = true)]
async fn of_two_claimers_under_faults_one_owner_remains() {
    for seed in 0..40 {
        let clock = clock(seed);
        let bucket = TaskSet::new(Blocking::Inline);
        let store = Arc::new(FaultStore::new(Arc::new(InMemory::new()), Arc::clone(&clock), bucket));
        let rates = FaultRates {
            error_before: 60,
            error_after: 80,
            late_effect: 60,
            conflict: 40,
            latency_max: Duration::from_millis(50),
            late_max: Duration::from_secs(8),
        };
        store.set_rates(rates);
        let run = |epoch: u64| {
            let ctx = context(store.clone(), epoch, &clock);
            async move {
                let mut manifest = open(ctx).await?;
                let mut committed = Vec::new();
                for number in 0..12 {
                    let next = Sequence(manifest.state().flushed_to.0 + 1);
                    match manifest.commit(Edit { add: vec![file(epoch * 1000 + number)], ..edit(next.0) }).await {
                        Ok(()) => committed.push(file(epoch * 1000 + number).name),
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::Fenced, "seed {seed}: {error}");
                            break;
                        }
                    }
                }
                Ok::<_, Error>(committed)
            }
        };
        let (first, second) = tokio::join!(run(1), run(2));
        store.set_rates(FaultRates::default());
        clock.sleep(Duration::from_secs(20)).await;
        let (head, _) = head::read(&context(store.clone(), 9, &clock)).await.unwrap().unwrap();
        let named = head.files.iter().map(|file| file.name).collect::<BTreeSet<_>>();
        for committed in [first, second].into_iter().flatten() {
            // I9 and I1 in small: what a commit confirmed is named by the head.
            assert!(committed.iter().all(|name| named.contains(name)), "seed {seed}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_or_missing_version_is_refused() {
    let clock = clock(5);
    for damage in 0..3 {
        let store = Arc::new(InMemory::new());
        let mut manifest = open(context(store.clone(), 1, &clock)).await.unwrap();
        for number in 1..=2 {
            manifest.commit(edit(number)).await.unwrap();
        }
        let slot = RegionPaths::new(REGION).manifest(1);
        let mut body = store.get(&slot).await.unwrap().bytes().await.unwrap().to_vec();
        match damage {
            0 => store.delete(&slot).await.unwrap(),
            1 => {
                body[40] ^= 4;
                store.put(&slot, body.into()).await.map(|_| ()).unwrap();
            }
            _ => {
                let mut record: Record = framed::decode(MANIFEST, &body).unwrap();
                record.nonce = record::Hash(1);
                store.put(&slot, framed::encode(MANIFEST, &record).into()).await.map(|_| ()).unwrap();
            }
        }
        let error = open(context(store, 2, &clock)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "damage {damage}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_checkpoint_is_passed_over_while_the_versions_are_there() {
    let (store, clock) = (Arc::new(InMemory::new()), clock(6));
    let mut manifest = open(context(store.clone(), 1, &clock)).await.unwrap();
    for number in 1..=5 {
        manifest.commit(edit(number)).await.unwrap();
    }
    let checkpoint = RegionPaths::new(REGION).checkpoint(4);
    store.put(&checkpoint, "rubbish".into()).await.unwrap();
    assert_eq!(open(context(store, 2, &clock)).await.unwrap().state().files.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn an_audit_sees_what_opening_passes_over() {
    let (store, clock) = (Arc::new(InMemory::new()), clock(7));
    let ctx = context(store.clone(), 1, &clock);
    assert_eq!(audit(&ctx).await.unwrap(), None);
    let mut manifest = open(ctx.clone()).await.unwrap();
    for number in 1..=9 {
        manifest.commit(Edit { add: Vec::new(), ..edit(number) }).await.unwrap();
        assert_eq!(audit(&ctx).await.unwrap().as_ref(), Some(manifest.state()), "after version {number}");
    }
    let says = async |invariant: &str, what: &str| {
        let error = audit(&ctx).await.unwrap_err();
        assert!(error.to_string().contains(invariant) && error.to_string().contains(what), "{error}");
    };
    let whole = store.get(&ctx.paths.checkpoint(8)).await.unwrap().bytes().await.unwrap();
    store.put(&ctx.paths.checkpoint(8), "rubbish".into()).await.unwrap();
    says("I8", "checkpoint").await;
    store.put(&ctx.paths.checkpoint(8), whole.into()).await.unwrap();
    manifest.commit(edit(10)).await.unwrap();
    says("I9", "parquet").await;
    store.delete(&ctx.paths.manifest(9)).await.unwrap();
    says("I8", "not the next").await;
}

#[test]
fn versions_that_do_not_follow_are_named() {
    let record = Record {
        version: 0,
        region: REGION,
        region_epoch: RegionEpoch(1),
        node_epoch: NodeEpoch(1),
        nonce: record::Hash(7),
        prev_hash: record::Hash(0),
        kind: Kind::Claim(Box::new(Claim { sources: vec![], create: Some(create()), change: None })),
    };
    let state = ManifestState::create(&record).unwrap();
    let hash = record::Hash(11);
    let next = Record { version: 1, prev_hash: hash, kind: Kind::Edit(Box::new(edit(5))), ..record };
    let state = state.apply(&next, hash).unwrap();
    let third = Record { version: 2, ..next };
    assert!(follows(&state, hash, &third).is_ok());
    let bad = |change: fn(&mut Record)| {
        let mut record = third.clone();
        change(&mut record);
        follows(&state, hash, &record).unwrap_err()
    };
    assert!(bad(|record| record.version = 3).contains("next"));
    assert!(bad(|record| record.prev_hash = record::Hash(1)).contains("follow"));
    assert!(bad(|record| record.region_epoch = RegionEpoch(0)).contains("epoch"));
    assert!(bad(|record| record.kind = Kind::Edit(Box::new(edit(4)))).contains("flushed"));
    assert!(bad(|record| record.region = RegionId(1)).contains("region"));
    let reserved = Record { kind: Kind::Split(serde_json::json!({})), ..third.clone() };
    assert!(state.apply(&reserved, hash).unwrap_err().message().contains("newer varve"));
}

#[test]
fn stored_bodies_match_their_fixtures() {
    let claim = Record {
        version: 0,
        region: REGION,
        region_epoch: RegionEpoch(1),
        node_epoch: NodeEpoch(2),
        nonce: record::Hash(7),
        prev_hash: record::Hash(0),
        kind: Kind::Claim(Box::new(Claim {
            sources: vec![Source { session: NodeEpoch(2), first: vec![(0, 0)] }],
            create: Some(create()),
            change: None,
        })),
    };
    let claim_bytes = framed::encode(MANIFEST, &claim);
    let hash = hash_of(&claim_bytes);
    let tombstone = |series| Tombstone {
        sequence: Sequence(9),
        series,
        time: TimeRange { start: i64::MIN, end: 5 },
        key_range: None,
    };
    let body = Edit {
        index: vec![IndexSegmentMeta {
            name: file(3).name,
            bytes: 77,
            crc32c: 3,
            first: SeriesId(0),
            count: 2,
            origin: None,
        }],
        next_series: SeriesId(2),
        tombstones: vec![tombstone(TombstoneSeries::All), tombstone(TombstoneSeries::Ids(vec![SeriesId(1)]))],
        tokens: vec![TokenEntry { hash: u64::MAX, at_s: 1_760_000_000 }],
        ..edit(9)
    };
    let edit = Record { version: 1, prev_hash: hash, kind: Kind::Edit(Box::new(body)), ..claim.clone() };
    let dropped = Record { version: 2, prev_hash: record::Hash(5), kind: Kind::Tombstone, ..claim.clone() };
    for (name, record) in [("claim", &claim), ("edit", &edit), ("tombstone", &dropped)] {
        let bytes = framed::encode(MANIFEST, record);
        assert_eq!(framed::decode::<Record>(MANIFEST, &bytes).unwrap(), *record);
        fixture::check("manifest", name, &bytes);
    }
    let state = ManifestState::create(&claim).unwrap().apply(&edit, hash).unwrap();
    let bytes = framed::encode(CHECKPOINT, &Checkpoint { hash, state: state.clone() });
    assert_eq!(framed::decode::<Checkpoint>(CHECKPOINT, &bytes).unwrap().state, state);
    fixture::check("manifest", "checkpoint", &bytes);
    fixture::check("manifest", "boundary", &framed::encode(BOUNDARY, &Boundary { version: 3, nonce: hash }));
}

/// A change to a body as JSON.
type Edited = fn(&mut serde_json::Value);

#[tokio::test(start_paused = true)]
async fn a_region_that_a_newer_varve_wrote_stays_closed_and_as_it_was() {
    let changes: [(&str, Edited); 9] = [
        ("field", |body| body["words"] = 1.into()),
        ("field of an edit", |body| body["kind"]["edit"]["words"] = 1.into()),
        ("field of a file", |body| body["kind"]["edit"]["add"][0]["words"] = 1.into()),
        ("field of a bucket", |body| body["kind"]["edit"]["add"][0]["bucket"]["words"] = 1.into()),
        ("field of a time range", |body| body["kind"]["edit"]["add"][0]["time"]["words"] = 1.into()),
        ("rollup", |body| body["kind"]["edit"]["add"][0]["rollup"] = 1.into()),
        ("series offset", |body| body["kind"]["edit"]["add"][0]["series_offset"] = 1.into()),
        ("key range", |body| body["kind"]["edit"]["add"][0]["key_range"] = serde_json::json!([0, 9])),
        ("consumers", |body| body["kind"]["edit"]["consumers"] = serde_json::json!([{}])),
    ];
    for (what, change) in changes {
        let (store, clock) = (Arc::new(InMemory::new()), clock(9));
        let mut manifest = open(context(store.clone(), 1, &clock)).await.unwrap();
        manifest.commit(edit(1)).await.unwrap();
        let slot = RegionPaths::new(REGION).manifest(1);
        let body = store.get(&slot).await.unwrap().bytes().await.unwrap();
        let mut body = framed::decode::<serde_json::Value>(MANIFEST, &body).unwrap();
        change(&mut body);
        store.put(&slot, framed::encode(MANIFEST, &body).into()).await.unwrap();
        let error = open(context(store.clone(), 2, &clock)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{what}: {error}");
        assert!(error.to_string().contains("a newer varve wrote"), "{what}: {error}");
        assert!(store.get(&RegionPaths::new(REGION).manifest(2)).await.is_err(), "{what}: nothing was claimed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_a_newer_varve_wrote_is_not_passed_over() {
    let changes: [(&str, Edited); 5] = [
        ("field", |body| body["state"]["words"] = 1.into()),
        ("consumers", |body| body["state"]["consumers"] = serde_json::json!([{}])),
        ("file", |body| body["state"]["files"][0]["key_range"] = serde_json::json!([0, 9])),
        ("requires", |body| body["state"]["table"]["requires"] = serde_json::json!(["rollup"])),
        ("merge", |body| body["state"]["table"]["schema"]["columns"][2]["merge"] = "sum".into()),
    ];
    for (what, change) in changes {
        let (store, clock) = (Arc::new(InMemory::new()), clock(10));
        let mut manifest = open(context(store.clone(), 1, &clock)).await.unwrap();
        for number in 1..=4 {
            manifest.commit(edit(number)).await.unwrap();
        }
        let slot = RegionPaths::new(REGION).checkpoint(4);
        let body = store.get(&slot).await.unwrap().bytes().await.unwrap();
        let mut body = framed::decode::<serde_json::Value>(CHECKPOINT, &body).unwrap();
        change(&mut body);
        store.put(&slot, framed::encode(CHECKPOINT, &body).into()).await.unwrap();
        let error = open(context(store, 2, &clock)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{what}: {error}");
        assert!(error.to_string().contains("a newer varve wrote"), "{what}: {error}");
    }
}
