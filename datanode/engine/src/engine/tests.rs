//! The engine end to end: write, kill, lose power, reopen, read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMillisecondType};
use futures::StreamExt;
use object_store::memory::InMemory;
use varve_model::batch::{FieldColumn, RegionBatch, Values, Vector};
use varve_model::id::*;
use varve_model::matcher::{MatchOp, Matcher, MissingTag};
use varve_model::partition::Partition;
use varve_model::region::Permit;
use varve_model::scan::ScanSpec;
use varve_model::schema::{LogicalType, NewColumn, Schema};
use varve_model::series::{SeriesKeys, encode_key};
use varve_model::table::{MergeMode, TableOptions};
use varve_model::time::{TimeRange, TimeUnit};
use varve_service::clock::ManualClock;
use varve_service::task::Blocking;

use super::*;
use crate::Ack;
use crate::wal::local::{LocalOptions, SimDisk};

mod object;
mod reference;

const REGION: RegionId = RegionId(1 << 32);
const CLUSTER: ClusterId = ClusterId(9);
const WALL: i64 = 1_760_000_000_000_000_000;
/// The wall clock in the table's unit.
const NOW: i64 = WALL / 1_000_000;

/// A machine: its disk and bucket outlive its processes.
struct Machine {
    store: Arc<InMemory>,
    disk: SimDisk,
    options: EngineOptions,
    mode: MergeMode,
    epoch: u64,
    seed: u64,
}

struct Process {
    engine: Engine,
    region: Arc<Region>,
    tasks: TaskSet,
}

impl Machine {
    fn new() -> Self {
        let options = EngineOptions {
            wal: LocalOptions { segment_bytes: 8 << 10, ..LocalOptions::default() },
            checkpoint_every: 4,
            ..EngineOptions::default()
        };
        Self {
            store: Arc::new(InMemory::new()),
            disk: SimDisk::new(),
            options,
            mode: MergeMode::LastRow,
            epoch: 0,
            seed: 1,
        }
    }

    fn table(&self) -> Arc<TableInfo> {
        let columns = vec![
            NewColumn::tag("host"),
            NewColumn::time("time", TimeUnit::Millisecond),
            NewColumn::field("value", LogicalType::Int64),
        ];
        Arc::new(TableInfo {
            id: TableId(1),
            database: DatabaseId(1),
            name: "cpu".to_owned(),
            incarnation: Incarnation(77),
            schema: Schema::create(columns, &["host".to_owned()]).unwrap(),
            options: TableOptions { merge_mode: self.mode, ..TableOptions::default() },
            partition: Partition::even(1).unwrap(),
            created_ms: 0,
            requires: Vec::new(),
        })
    }

    fn setup(&mut self) -> (EngineSetup, TaskSet) {
        self.seed += 1;
        let tasks = TaskSet::new(Blocking::Inline);
        let setup = EngineSetup {
            store: self.store.clone(),
            log: Log::Local(Disk::Shim(self.disk.clone())),
            clock: Arc::new(ManualClock::new(self.seed, WALL)),
            tasks: tasks.clone(),
            memory: Account::root("engine", 64 << 20),
            options: self.options.clone(),
        };
        (setup, tasks)
    }

    async fn boot(&mut self) -> Result<(Engine, TaskSet)> {
        self.epoch += 1;
        let (setup, tasks) = self.setup();
        let prepared = Engine::prepare(setup).await?;
        Ok((prepared.start(CLUSTER, NodeEpoch(self.epoch)).await?, tasks))
    }

    async fn open(&mut self, engine: &Engine) -> Result<Arc<Region>> {
        let epoch = RegionEpoch(self.epoch);
        let region = engine.open(REGION, epoch, self.table(), Ttl::Forever).await?;
        region.permit(Permit { epoch, valid_until: Duration::MAX });
        Ok(region)
    }

    async fn start(&mut self) -> Process {
        let (engine, tasks) = self.boot().await.unwrap();
        let region = self.open(&engine).await.unwrap();
        Process { engine, region, tasks }
    }

    fn kill(&self, process: Process) {
        process.tasks.kill();
        self.disk.kill();
    }

    fn power_loss(&self, process: Process, seed: u64) {
        process.tasks.kill();
        self.disk.power_loss(seed);
    }
}

fn batch(epoch: RegionEpoch, rows: &[(&str, i64, i64)], tokens: Vec<Token>) -> RegionBatch {
    let mut keys = SeriesKeys::default();
    let mut slots = BTreeMap::new();
    let mut series = Vec::new();
    for (host, _, _) in rows {
        let slot = *slots
            .entry(*host)
            .or_insert_with(|| keys.push_with(|bytes| encode_key(&mut [(b"host", host.as_bytes())], bytes)));
        series.push(slot);
    }
    let values = Values::I64(rows.iter().map(|row| row.2).collect());
    RegionBatch {
        region: REGION,
        epoch,
        schema_version: SchemaVersion(0),
        keys,
        series,
        ts: rows.iter().map(|row| row.1).collect(),
        fields: vec![FieldColumn { column: ColumnId(3), vector: Vector { values, validity: None } }],
        tokens,
    }
}

impl Process {
    async fn write(&self, rows: &[(&str, i64, i64)]) -> Result<Ack> {
        self.region.write(batch(self.region.epoch(), rows, vec![])).await
    }

    async fn write_token(&self, rows: &[(&str, i64, i64)], token: u128) -> Result<Ack> {
        self.region.write(batch(self.region.epoch(), rows, vec![Token::new(token, 0)])).await
    }

    /// All rows as (host, ts, value), sorted.
    async fn rows(&self) -> Vec<(String, i64, i64)> {
        let spec = ScanSpec {
            region: self.region.id(),
            epoch: self.region.epoch(),
            time: TimeRange::ALL,
            matchers: Vec::new(),
            columns: vec![ColumnId(1), ColumnId(2), ColumnId(3)],
        };
        let scan = self.region.scan(&spec).await.unwrap();
        let mut rows = Vec::new();
        for mut stream in scan.streams {
            while let Some(batch) = stream.next().await {
                let batch = batch.unwrap();
                let hosts = arrow_cast_to_strings(batch.column(0));
                let ts = batch.column(1).as_primitive::<TimestampMillisecondType>();
                let values = batch.column(2).as_primitive::<Int64Type>();
                for (row, host) in hosts.into_iter().enumerate() {
                    rows.push((host, ts.value(row), values.value(row)));
                }
            }
        }
        rows.sort();
        rows
    }
}

/// Text of a plain or dictionary column.
fn arrow_cast_to_strings(column: &arrow_array::ArrayRef) -> Vec<String> {
    if let Some(dictionary) = column.as_any_dictionary_opt() {
        let values = dictionary.values().as_string::<i32>();
        return dictionary.normalized_keys().into_iter().map(|key| values.value(key).to_owned()).collect();
    }
    column.as_string_view().iter().map(|text| text.unwrap_or_default().to_owned()).collect()
}

fn owned(rows: &[(&str, i64, i64)]) -> Vec<(String, i64, i64)> {
    rows.iter().map(|(host, ts, value)| ((*host).to_owned(), *ts, *value)).collect()
}

#[tokio::test(start_paused = true)]
async fn acked_rows_survive_a_kill() {
    let mut machine = Machine::new();
    let process = machine.start().await;
    let ack = process.write(&[("a", NOW, 1), ("b", NOW, 2)]).await.unwrap();
    assert_eq!(ack, Ack { sequence: Sequence(2), rows: 2 });
    process.write(&[("a", NOW, 3)]).await.unwrap();
    assert_eq!(process.rows().await, owned(&[("a", NOW, 3), ("b", NOW, 2)]));
    machine.kill(process);

    let process = machine.start().await;
    assert_eq!(process.rows().await, owned(&[("a", NOW, 3), ("b", NOW, 2)]));
    assert_eq!(process.write(&[("c", NOW, 4)]).await.unwrap().sequence, Sequence(4));
    machine.kill(process);
    let process = machine.start().await;
    assert_eq!(process.rows().await, owned(&[("a", NOW, 3), ("b", NOW, 2), ("c", NOW, 4)]));
}

#[tokio::test(start_paused = true)]
async fn flushed_rows_come_from_files_and_the_log_is_freed() {
    let mut machine = Machine::new();
    let process = machine.start().await;
    for value in 0..50 {
        process.write(&[("a", NOW + value, value), ("b", NOW + value, -value)]).await.unwrap();
    }
    let before = process.rows().await;
    assert_eq!(before.len(), 100);
    assert!(process.engine.wal_status().bytes > 0);
    process.region.flush().await.unwrap();
    let statistics = process.region.statistics();
    assert_eq!((statistics.memtable_rows, statistics.file_rows, statistics.flushed_to), (0, 100, 100));
    assert_eq!(process.rows().await, before);
    process.write(&[("a", NOW, 1000)]).await.unwrap();
    machine.kill(process);

    let process = machine.start().await;
    let rows = process.rows().await;
    assert_eq!(rows.len(), 100);
    assert!(rows.contains(&("a".to_owned(), NOW, 1000)));
    process.region.flush().await.unwrap();
    process.region.compact_all().await.unwrap();
    assert_eq!(process.rows().await, rows);
    assert_eq!(process.region.statistics().files, 1);
    machine.kill(process);
    assert_eq!(machine.start().await.rows().await, rows);
}

#[tokio::test(start_paused = true)]
async fn acked_rows_survive_power_cuts_and_nothing_comes_twice() {
    for seed in 0..40 {
        let mut machine = Machine::new();
        machine.mode = MergeMode::Append;
        machine.seed = seed * 1000;
        let mut acked = Vec::new();
        for round in 0..5 {
            let process = machine.start().await;
            assert_eq!(process.rows().await, acked, "seed {seed} round {round}");
            for value in 0..20 {
                let row = ("a", NOW + round * 100 + value, value);
                process.write(&[row]).await.unwrap();
                acked.extend(owned(&[row]));
            }
            if round % 2 == 0 {
                process.region.flush().await.unwrap();
            }
            if seed % 3 == 0 {
                machine.kill(process);
            } else {
                machine.power_loss(process, seed * 7 + round as u64);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_retried_token_is_applied_once_also_after_a_restart() {
    let mut machine = Machine::new();
    machine.mode = MergeMode::Append;
    let process = machine.start().await;
    let row = [("a", NOW, 1)];
    let (first, second) = tokio::join!(process.write_token(&row, 5), process.write_token(&row, 5));
    assert_eq!(first.unwrap().sequence, second.unwrap().sequence);
    process.write_token(&row, 6).await.unwrap();
    machine.kill(process);
    let process = machine.start().await;
    process.write_token(&row, 5).await.unwrap();
    process.region.flush().await.unwrap();
    machine.kill(process);
    let process = machine.start().await;
    process.write_token(&row, 6).await.unwrap();
    assert_eq!(process.rows().await, owned(&[("a", NOW, 1), ("a", NOW, 1)]));
}

#[tokio::test(start_paused = true)]
async fn deletes_hold_before_and_after_flush_and_restart() {
    let mut machine = Machine::new();
    let process = machine.start().await;
    process.write(&[("a", NOW, 1), ("b", NOW, 1)]).await.unwrap();
    process.region.flush().await.unwrap();
    process.write(&[("a", NOW + 1, 2)]).await.unwrap();
    let matcher =
        Matcher { tag: "host".to_owned(), op: MatchOp::In(vec!["a".to_owned()]), missing: MissingTag::Unknown };
    process.region.delete(process.region.epoch(), vec![matcher], TimeRange::ALL).await.unwrap();
    process.write(&[("a", NOW + 2, 3)]).await.unwrap();
    let expected = owned(&[("a", NOW + 2, 3), ("b", NOW, 1)]);
    assert_eq!(process.rows().await, expected);
    machine.kill(process);
    let process = machine.start().await;
    assert_eq!(process.rows().await, expected);
    process.region.flush().await.unwrap();
    assert_eq!(process.rows().await, expected);
    process.region.compact_all().await.unwrap();
    assert_eq!(process.rows().await, expected);
    machine.kill(process);
    assert_eq!(machine.start().await.rows().await, expected);
}

#[tokio::test(start_paused = true)]
async fn truncate_removes_everything_and_the_sequence_goes_on() {
    let mut machine = Machine::new();
    let process = machine.start().await;
    process.write(&[("a", NOW, 1)]).await.unwrap();
    process.region.flush().await.unwrap();
    process.write(&[("b", NOW, 1)]).await.unwrap();
    process.region.truncate().await.unwrap();
    assert_eq!(process.rows().await, vec![]);
    assert_eq!(process.write(&[("b", NOW, 2)]).await.unwrap().sequence, Sequence(3));
    machine.kill(process);
    let process = machine.start().await;
    assert_eq!(process.rows().await, owned(&[("b", NOW, 2)]));
}

#[tokio::test(start_paused = true)]
async fn a_newer_owner_fences_the_older_one() {
    let mut machine = Machine::new();
    let process = machine.start().await;
    process.write(&[("a", NOW, 1)]).await.unwrap();
    let newer = process.engine.open(REGION, RegionEpoch(7), machine.table(), Ttl::Forever).await.unwrap();
    assert_eq!(process.region.flush().await.unwrap_err().kind(), ErrorKind::Fenced);
    let error = process.write(&[("a", NOW, 2)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    newer.permit(Permit { epoch: RegionEpoch(7), valid_until: Duration::MAX });
    let process = Process { region: newer, ..process };
    assert_eq!(process.rows().await, owned(&[("a", NOW, 1)]));
    let old = process.engine.open(REGION, RegionEpoch(6), machine.table(), Ttl::Forever).await.unwrap_err();
    assert_eq!(old.kind(), ErrorKind::Fenced);
}

#[tokio::test(start_paused = true)]
async fn writes_and_reads_need_a_permit_and_the_right_epoch() {
    let mut machine = Machine::new();
    let (engine, tasks) = machine.boot().await.unwrap();
    let region = engine.open(REGION, RegionEpoch(1), machine.table(), Ttl::Forever).await.unwrap();
    let process = Process { engine, region, tasks };
    assert_eq!(process.write(&[("a", NOW, 1)]).await.unwrap_err().kind(), ErrorKind::Unavailable);
    process.region.permit(Permit { epoch: RegionEpoch(1), valid_until: Duration::MAX });
    process.write(&[("a", NOW, 1)]).await.unwrap();
    let stale = process.region.write(batch(RegionEpoch(0), &[("a", NOW, 1)], vec![])).await.unwrap_err();
    assert_eq!(stale.kind(), ErrorKind::StaleRoute);
}

#[tokio::test(start_paused = true)]
async fn one_folder_serves_one_process() {
    let mut machine = Machine::new();
    let process = machine.start().await;
    let error = machine.boot().await.unwrap_err();
    assert!(error.to_string().contains("in use by another process"), "{error}");
    process.engine.stop().await.unwrap();
    machine.kill(process);
    machine.boot().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_definitely_and_writes_resume() {
    let mut machine = Machine::new();
    machine.mode = MergeMode::Append;
    let process = machine.start().await;
    process.write(&[("a", NOW, 0)]).await.unwrap();
    machine.disk.set_bytes_max(Some(0));
    let mut acked = 1;
    let error = loop {
        match process.write(&[("b", NOW, acked)]).await {
            Ok(_) => acked += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.reason(), varve_model::Reason::DiskFull);
    machine.disk.set_bytes_max(None);
    let ack = process.write(&[("c", NOW, 0)]).await.unwrap();
    assert_eq!(ack.sequence.0, acked as u64 + 1);
    let rows = process.rows().await;
    machine.kill(process);
    assert_eq!(machine.start().await.rows().await, rows);
}

#[tokio::test(start_paused = true)]
async fn a_failed_sync_ends_the_process_and_unacked_rows_may_go() {
    let mut machine = Machine::new();
    let died = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flag = Arc::clone(&died);
    machine.options.wal.on_fatal =
        crate::wal::local::OnFatal(Arc::new(move |_| flag.store(true, std::sync::atomic::Ordering::SeqCst)));
    let process = machine.start().await;
    process.write(&[("a", NOW, 1)]).await.unwrap();
    machine.disk.fail_syncs(1);
    let error = process.write(&[("b", NOW, 1)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(died.load(std::sync::atomic::Ordering::SeqCst));
    machine.power_loss(process, 3);
    assert_eq!(machine.start().await.rows().await, owned(&[("a", NOW, 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_region_stays_dropped() {
    let mut machine = Machine::new();
    let process = machine.start().await;
    process.write(&[("a", NOW, 1)]).await.unwrap();
    process.region.flush().await.unwrap();
    process.engine.drop_region(REGION).await.unwrap();
    assert!(process.engine.region(REGION).is_none());
    machine.kill(process);
    let (engine, _tasks) = machine.boot().await.unwrap();
    assert_eq!(machine.open(&engine).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn another_life_of_a_table_cannot_take_the_folder() {
    let mut machine = Machine::new();
    let process = machine.start().await;
    let mut table = TableInfo::clone(&machine.table());
    table.incarnation = Incarnation(78);
    let error = process.engine.open(REGION, RegionEpoch(5), Arc::new(table), Ttl::Forever).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
}

#[tokio::test(start_paused = true)]
async fn waiting_writes_share_blocks_and_missing_fields_are_null() {
    let mut machine = Machine::new();
    machine.mode = MergeMode::Append;
    let process = machine.start().await;
    let writes = (0..100).map(|value| {
        let process = &process;
        async move {
            let mut batch = batch(process.region.epoch(), &[("a", NOW + value, value)], vec![]);
            if value % 2 == 1 {
                batch.fields.clear();
            }
            process.region.write(batch).await.unwrap().sequence
        }
    });
    let sequences = futures::future::join_all(writes).await;
    assert_eq!(sequences, (1..=100).map(Sequence).collect::<Vec<_>>());
    assert!(machine.disk.syncs() < 60, "{} syncs for 100 writes", machine.disk.syncs());
    assert_eq!(process.rows().await.len(), 100);
    machine.kill(process);
    assert_eq!(machine.start().await.rows().await.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn full_memory_refuses_until_the_background_flushed() {
    let mut machine = Machine::new();
    machine.options.memtable_percent = 1;
    machine.options.wal.segment_bytes = 1 << 20;
    let process = machine.start().await;
    let rows = (0..2000).map(|value| ("a", NOW + value, value)).collect::<Vec<_>>();
    let mut refused = 0;
    for _ in 0..60 {
        match process.write(&rows).await {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Busy);
                refused += 1;
                tokio::time::advance(Duration::from_secs(1)).await;
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
    assert!(refused > 0 && refused < 40, "{refused} refused");
    assert!(process.region.statistics().flushed_to > 0);
}

#[tokio::test(start_paused = true)]
async fn a_log_larger_than_the_memory_is_replayed_in_parts() {
    let mut machine = Machine::new();
    machine.options.wal.segment_bytes = 1 << 20;
    let process = machine.start().await;
    for part in 0..20 {
        let rows = (0..2000).map(|row| ("a", NOW + part * 2000 + row, row)).collect::<Vec<_>>();
        process.write(&rows).await.unwrap();
    }
    machine.kill(process);
    machine.options.memtable_percent = 1;
    let process = machine.start().await;
    assert!(process.region.statistics().flushed_to > 0);
    assert_eq!(process.rows().await.len(), 40_000);
}

#[tokio::test(start_paused = true)]
async fn old_rows_are_flushed_and_replaced_files_are_deleted_after_their_grace() {
    let mut machine = Machine::new();
    machine.options.flush.age_max = Duration::from_secs(5);
    let process = machine.start().await;
    let clock = Arc::clone(&process.engine.inner.setup.clock);
    for round in 0..3 {
        process.write(&[("a", NOW, round)]).await.unwrap();
        clock.sleep(Duration::from_secs(7)).await;
        assert_eq!(process.region.statistics().memtable_rows, 0, "round {round}");
    }
    process.region.compact_all().await.unwrap();
    let files = || async {
        let listed = machine.store.list(Some(&RegionPaths::new(REGION).files()));
        listed.count().await
    };
    assert_eq!(process.region.statistics().files, 1);
    assert_eq!(files().await, 8, "the grace lasts");
    clock.sleep(Duration::from_secs(130)).await;
    assert_eq!(files().await, 2, "one file and its sidecar");
    assert_eq!(process.rows().await, owned(&[("a", NOW, 2)]));
}

#[tokio::test(start_paused = true)]
async fn orphans_of_older_epochs_go_and_files_in_use_stay() {
    let mut machine = Machine::new();
    machine.options.orphan_age = Duration::ZERO;
    let process = machine.start().await;
    process.write(&[("a", NOW, 1)]).await.unwrap();
    process.region.flush().await.unwrap();
    let paths = RegionPaths::new(REGION);
    let orphan = paths.data(crate::sst::meta::FileName::new(RegionEpoch(1), 99));
    let own = paths.data(crate::sst::meta::FileName::new(RegionEpoch(2), 99));
    for path in [&orphan, &own] {
        object_store::ObjectStoreExt::put(&*machine.store, path, "left behind".into()).await.unwrap();
    }
    machine.kill(process);
    let process = machine.start().await;
    process.region.collect_orphans().await.unwrap();
    assert!(object_store::ObjectStoreExt::head(&*machine.store, &orphan).await.is_err());
    object_store::ObjectStoreExt::head(&*machine.store, &own).await.unwrap();
    assert_eq!(process.rows().await, owned(&[("a", NOW, 1)]));
}

#[tokio::test(start_paused = true)]
async fn an_altered_table_survives_and_an_unknown_column_is_a_stale_route() {
    let mut machine = Machine::new();
    let process = machine.start().await;
    let mut table = TableInfo::clone(&machine.table());
    table.schema = table.schema.add_columns(vec![NewColumn::field("load", LogicalType::Float64)]).unwrap();
    let mut wide = batch(process.region.epoch(), &[("a", NOW, 1)], vec![]);
    wide.schema_version = SchemaVersion(1);
    wide.fields
        .push(FieldColumn { column: ColumnId(4), vector: Vector { values: Values::F64(vec![0.5]), validity: None } });
    assert_eq!(process.region.write(wide.clone()).await.unwrap_err().kind(), ErrorKind::StaleRoute);
    process.region.alter(Arc::new(table), Ttl::Forever).await.unwrap();
    process.region.write(wide).await.unwrap();
    process.write(&[("b", NOW, 2)]).await.unwrap();
    machine.kill(process);
    // The host may still know the older table only.
    let process = machine.start().await;
    assert_eq!(process.region.table().schema.version, SchemaVersion(1));
    assert_eq!(process.rows().await.len(), 2);
}

#[cfg(feature = "seeded-bugs")]
mod planted {
    use super::*;
    use crate::fault::bug::{Bug, set};

    /// Rows lost or doubled over a few crashes.
    async fn wrong(bug: Option<Bug>) -> bool {
        set(bug);
        let mut found = false;
        for seed in 0..6 {
            let mut machine = Machine::new();
            machine.mode = MergeMode::Append;
            machine.seed = seed * 1000;
            let mut acked = Vec::new();
            for round in 0..4 {
                let process = machine.start().await;
                found |= process.rows().await != acked;
                for value in 0..5 {
                    let row = ("a", NOW + round * 100 + value, value);
                    process.write(&[row]).await.unwrap();
                    acked.extend(owned(&[row]));
                }
                machine.power_loss(process, seed + round as u64);
                if found {
                    break;
                }
            }
        }
        set(None);
        found
    }

    #[tokio::test(start_paused = true)]
    async fn bugs_of_log_and_replay_are_found() {
        assert!(!wrong(None).await);
        assert!(wrong(Some(Bug::AckBeforeFdatasync)).await);
        assert!(wrong(Some(Bug::ReplayOffByOne)).await);
    }

    /// Whether a retry was acknowledged whose rows a power cut took.
    async fn retry_lost() -> bool {
        let mut machine = Machine::new();
        machine.mode = MergeMode::Append;
        machine.options.wal.latency_max = Duration::from_millis(5);
        let process = machine.start().await;
        let row = [("a", NOW, 1)];
        let mut acked = false;
        {
            let mut first = Box::pin(process.write_token(&row, 5));
            let mut second = Box::pin(process.write_token(&row, 5));
            // Yielding keeps the paused clock where it is, so the sync does not come to its end.
            for _ in 0..50 {
                acked |= futures::poll!(&mut first).is_ready();
                acked |= futures::poll!(&mut second).is_ready();
                if acked {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        machine.power_loss(process, 1);
        acked && machine.start().await.rows().await.is_empty()
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_acked_while_pending_is_found() {
        assert!(!retry_lost().await);
        set(Some(Bug::TokenAckedWhilePending));
        assert!(retry_lost().await);
        set(None);
    }
}

#[cfg(feature = "failpoints")]
#[tokio::test(start_paused = true)]
async fn every_fail_point_is_passed_and_a_kill_at_any_of_them_loses_nothing() {
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeSet;
    use std::rc::Rc;

    /// One life: restart, write, flush, compact. Rows that were acknowledged are added to `acked`.
    async fn life(process: &Process, round: i64, acked: &RefCell<Vec<(String, i64, i64)>>) -> Result<()> {
        for value in 0..30 {
            let row = ("a", NOW + round * 100 + value, value);
            process.write(&[row]).await?;
            acked.borrow_mut().extend(owned(&[row]));
            if value % 10 == 9 {
                process.region.flush().await?;
            }
        }
        process.region.compact_all().await?;
        process.engine.inner.setup.clock.sleep(Duration::from_secs(200)).await;
        process.region.collect().await
    }

    let passed = Rc::new(RefCell::new(BTreeSet::new()));
    let note = Rc::clone(&passed);
    crate::fault::failpoint::set_hook(Some(Rc::new(move |name| {
        note.borrow_mut().insert(name);
    })));
    let mut machine = Machine::new();
    machine.options.wal.segment_bytes = 1024;
    for round in 0..2 {
        let process = machine.start().await;
        life(&process, round, &RefCell::default()).await.unwrap();
        process.write(&[("a", NOW, -1)]).await.unwrap();
        machine.kill(process);
    }
    let all = crate::fault::failpoint::ALL.iter().copied().collect::<BTreeSet<_>>();
    assert_eq!(*passed.borrow(), all, "points passed and points listed");

    for (number, point) in all.iter().enumerate() {
        let mut machine = Machine::new();
        machine.options.wal.segment_bytes = 1024;
        machine.mode = MergeMode::Append;
        let acked = RefCell::new(Vec::new());
        for round in 0..3 {
            let (engine, tasks) = machine.boot().await.unwrap();
            let left = Rc::new(Cell::new(1 + number * 7 % 5 + round as usize));
            let (killed, name) = (tasks.clone(), *point);
            crate::fault::failpoint::set_hook(Some(Rc::new(move |passed| {
                if passed == name {
                    left.set(left.get().saturating_sub(1));
                    if left.get() == 0 {
                        killed.kill();
                    }
                }
            })));
            if let Ok(region) = machine.open(&engine).await {
                let process = Process { engine, region, tasks: tasks.clone() };
                let limit = process.engine.inner.setup.clock.sleep(Duration::from_mins(10));
                tokio::select! {
                    _ = life(&process, round, &acked) => {}
                    () = limit => {}
                }
            }
            crate::fault::failpoint::set_hook(None);
            tasks.kill();
            tokio::task::yield_now().await;
            machine.disk.power_loss(number as u64);
        }
        let process = machine.start().await;
        let rows = process.rows().await;
        let missing = acked.borrow().iter().filter(|row| !rows.contains(row)).count();
        let distinct = rows.iter().collect::<BTreeSet<_>>().len();
        assert_eq!((missing, distinct), (0, rows.len()), "killed at {point}");
    }
}

#[tokio::test(start_paused = true)]
async fn new_series_are_refused_while_the_indexes_are_full_and_known_ones_go_on() {
    let mut machine = Machine::new();
    machine.options.index_percent = 1;
    let process = machine.start().await;
    let host = |number: usize| format!("{number:04}{}", "x".repeat(2000));
    let mut known = 0;
    let error = loop {
        match process.write(&[(&host(known), NOW, 1)]).await {
            Ok(_) => known += 1,
            Err(error) => break error,
        }
        assert!(known < 2000, "64 MiB / 100 hold no 2,000 keys of 2,000 bytes");
    };
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert!(known > 10 && error.to_string().contains("series indexes"), "{known}: {error}");
    process.write(&[(&host(0), NOW, 2)]).await.unwrap();
    machine.kill(process);

    let process = machine.start().await;
    assert_eq!(process.rows().await.len(), known);
    process.write(&[(&host(0), NOW, 3)]).await.unwrap();
    assert_eq!(process.write(&[(&host(known), NOW, 1)]).await.unwrap_err().kind(), ErrorKind::Busy);
}
