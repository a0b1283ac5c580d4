//! A region without a WAL, in memory, and the naive model of what it must answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use futures::TryStreamExt;
use object_store::memory::InMemory;
use varve_model::Result;
use varve_model::batch::{FieldColumn, Vector};
use varve_model::budget::Account;
use varve_model::id::{
    ColumnId, DatabaseId, Incarnation, RegionEpoch, RegionId, SchemaVersion, Sequence, SeriesId, TableId,
};
use varve_model::matcher::Matcher;
use varve_model::partition::Partition;
use varve_model::scan::ScanSpec;
use varve_model::schema::{LogicalType, NewColumn, Schema, StoredType};
use varve_model::series::{SeriesKeys, encode_key};
use varve_model::table::{MergeMode, TableInfo, TableOptions, Ttl};
use varve_model::time::{TimeRange, TimeUnit};
use varve_service::clock::ManualClock;
use varve_service::task::{Blocking, TaskSet};

use crate::compaction::{self, Force, Now};
use crate::flush::run::flush;
use crate::format::block::{Block, BlockBody};
use crate::index::SeriesIndex;
use crate::index::meta::IndexSegmentMeta;
use crate::scan::{ScanOptions, scan_with};
use crate::sst::meta::{FileMeta, Tombstone};
use crate::store::FileContext;
use crate::store::path::RegionPaths;
use crate::version::VersionSet;

/// The wall clock of the tests: 2026-11-21T00:00:00Z.
pub(crate) const WALL_NANOS: i64 = 1_795_219_200_000_000_000;

/// The columns: tag `host` (1), time `time` (2), fields `f` (3), `i` (4), `s` (5).
pub(crate) fn table(mode: MergeMode, unit: TimeUnit) -> TableInfo {
    let columns = vec![
        NewColumn::tag("host"),
        NewColumn::time("time", unit),
        NewColumn::field("f", LogicalType::Float64),
        NewColumn::field("i", LogicalType::Int64),
        NewColumn::field("s", LogicalType::String),
    ];
    table_of(Schema::create(columns, &["host".to_owned()]).expect("schema"), mode)
}

pub(crate) fn table_of(schema: Schema, mode: MergeMode) -> TableInfo {
    TableInfo {
        id: TableId(7),
        database: DatabaseId(1),
        name: "t".into(),
        incarnation: Incarnation(1),
        schema,
        options: TableOptions { merge_mode: mode, ..TableOptions::default() },
        partition: Partition::even(1).expect("one region"),
        created_ms: 0,
        requires: Vec::new(),
    }
}

/// A row as written and as answered.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub(crate) struct Row {
    pub host: Option<String>,
    pub ts: i64,
    /// Bits of the float.
    pub f: Option<u64>,
    pub i: Option<i64>,
    pub s: Option<String>,
}

/// A region with its bucket.
pub(crate) struct Lab {
    pub ctx: FileContext,
    pub store: Arc<InMemory>,
    pub set: VersionSet,
    pub table: Arc<TableInfo>,
    pub ttl: Ttl,
    pub files: Vec<FileMeta>,
    pub tombstones: Vec<Tombstone>,
    pub segments: Vec<IndexSegmentMeta>,
    pub flushed_to: Sequence,
    /// The WAL.
    pub blocks: Vec<Arc<Block>>,
    pub seq: u64,
}

pub(crate) fn context(store: &Arc<InMemory>) -> FileContext {
    let region = RegionId::new(TableId(7), 0);
    FileContext {
        store: store.clone(),
        region,
        paths: Arc::new(RegionPaths::new(region)),
        clock: Arc::new(ManualClock::new(1, WALL_NANOS)),
        tasks: TaskSet::new(Blocking::Inline),
        account: Account::root("test", 1 << 30),
        region_epoch: RegionEpoch(3),
    }
}

pub(crate) fn key(host: Option<&str>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(host) = host {
        encode_key(&mut [(b"host", host.as_bytes())], &mut bytes);
    }
    bytes
}

impl Lab {
    pub(crate) fn new(table: TableInfo, ttl: Ttl) -> Self {
        let store = Arc::new(InMemory::new());
        let table = Arc::new(table);
        let index = Arc::new(SeriesIndex::default());
        Self {
            ctx: context(&store),
            store,
            set: VersionSet::new(table.clone(), ttl, index, Vec::new(), Vec::new(), Sequence(0)),
            table,
            ttl,
            files: Vec::new(),
            tombstones: Vec::new(),
            segments: Vec::new(),
            flushed_to: Sequence(0),
            blocks: Vec::new(),
            seq: 0,
        }
    }

    /// Sequences, logs and applies rows of any columns.
    pub(crate) fn write_columns(&mut self, keys: &[Vec<u8>], ts: Vec<i64>, fields: Vec<FieldColumn>) {
        let index = self.set.view().index.clone();
        let first_new_series = index.next_id();
        let mut new_series = SeriesKeys::default();
        let mut series = Vec::with_capacity(keys.len());
        for key in keys {
            if index.get(key).is_none() {
                new_series.push(key);
            }
            series.push(index.insert(key).0);
        }
        let rows = ts.len() as u64;
        self.apply(first_new_series, new_series, BlockBody::Rows { series, ts, fields }, rows);
    }

    fn apply(&mut self, first_new_series: SeriesId, new_series: SeriesKeys, body: BlockBody, rows: u64) {
        let block = Arc::new(Block {
            region: self.ctx.region,
            epoch: self.ctx.region_epoch,
            schema_version: SchemaVersion(0),
            first_seq: Sequence(self.seq + 1),
            tokens: Vec::new(),
            first_new_series,
            new_series,
            body,
        });
        self.seq += rows;
        self.blocks.push(block.clone());
        self.set.apply(block).expect("apply");
    }

    pub(crate) fn write(&mut self, rows: &[Row]) {
        if rows.is_empty() {
            return;
        }
        let keys = rows.iter().map(|row| key(row.host.as_deref())).collect::<Vec<_>>();
        let mut f = Vector::new(StoredType::F64);
        let mut i = Vector::new(StoredType::I64);
        let mut s = Vector::new(StoredType::String);
        for row in rows {
            push_f64(&mut f, row.f.map(f64::from_bits));
            push_i64(&mut i, row.i);
            push_text(&mut s, row.s.as_deref());
        }
        let fields = [(3, f), (4, i), (5, s)].map(|(id, vector)| FieldColumn { column: ColumnId(id), vector });
        self.write_columns(&keys, rows.iter().map(|row| row.ts).collect(), fields.into());
    }

    pub(crate) fn delete(&mut self, hosts: Option<&[Option<String>]>, time: TimeRange) {
        let index = self.set.view().index.clone();
        let series = hosts.map(|hosts| {
            let ids = hosts.iter().filter_map(|host| index.get(&key(host.as_deref())));
            ids.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
        });
        self.apply(index.next_id(), SeriesKeys::default(), BlockBody::Delete { series, time }, 1);
    }

    pub(crate) async fn flush(&mut self) {
        let Some(frozen) = self.set.freeze() else { return };
        let from = self.segments.iter().map(|segment| segment.first.0 + segment.count).max().unwrap_or(0);
        let output = flush(&self.ctx, &self.set.view(), &frozen, SeriesId(from)).await.expect("flush");
        self.files.extend(output.files);
        self.tombstones.extend(output.tombstones);
        self.segments.extend(output.index_segment);
        self.flushed_to = frozen.upto;
        self.set.install(self.files.clone(), self.tombstones.clone(), Some(&frozen));
    }

    /// Compacts until nothing is left to do; the number of tasks.
    pub(crate) async fn compact(&mut self, force: Force, wall_nanos: i64) -> usize {
        let now = Now { wall_nanos, unit: self.table.schema.time_unit() };
        let mut tasks = 0;
        while let Some(task) = compaction::pick(&self.files, &self.tombstones, now, force) {
            let output = compaction::run(&self.ctx, &self.set.view(), &task).await.expect("compaction");
            self.files.retain(|file| !output.remove.contains(&file.name));
            self.files.extend(output.add);
            self.set.install(self.files.clone(), self.tombstones.clone(), None);
            tasks += 1;
            assert!(tasks < 100, "compaction does not come to an end");
        }
        tasks
    }

    /// Forgets all memory and starts again from manifest, segments and WAL.
    pub(crate) async fn reopen(&mut self) {
        let index = Arc::new(SeriesIndex::load(&self.ctx, &self.segments).await.expect("index"));
        let (files, tombstones) = (self.files.clone(), self.tombstones.clone());
        self.set = VersionSet::new(self.table.clone(), self.ttl, index.clone(), files, tombstones, self.flushed_to);
        for block in &self.blocks {
            if block.last_seq() > self.flushed_to {
                self.set.apply(block.clone()).expect("replay");
            } else if !block.new_series.is_empty() {
                index.restore(block.first_new_series, &block.new_series).expect("known already");
            }
        }
    }

    pub(crate) fn spec(&self, time: TimeRange, matchers: Vec<Matcher>, columns: &[u32]) -> ScanSpec {
        ScanSpec {
            region: self.ctx.region,
            epoch: self.ctx.region_epoch,
            time,
            matchers,
            columns: columns.iter().map(|&id| ColumnId(id)).collect(),
        }
    }

    pub(crate) async fn batches(&self, spec: &ScanSpec) -> Result<Vec<RecordBatch>> {
        let options = ScanOptions { streams_max: 3, stream_rows_min: 4, group_rows: 2, batch_rows: 7 };
        let scan = scan_with(self.set.view(), spec, &self.ctx, options).await?;
        let mut batches = Vec::new();
        for stream in scan.streams {
            let of_stream = stream.try_collect::<Vec<_>>().await?;
            assert!(of_stream.iter().all(|batch| batch.schema() == scan.schema));
            batches.extend(of_stream);
        }
        Ok(batches)
    }

    /// All columns, sorted.
    pub(crate) async fn rows(&self, time: TimeRange, matchers: Vec<Matcher>) -> Result<Vec<Row>> {
        let batches = self.batches(&self.spec(time, matchers, &[5, 2, 1, 4, 3])).await?;
        let mut rows = batches.iter().flat_map(rows_of).collect::<Vec<_>>();
        sort(&mut rows);
        Ok(rows)
    }
}

pub(crate) fn push_f64(to: &mut Vector, value: Option<f64>) {
    push(to, value, |to, value| {
        if let varve_model::batch::Values::F64(values) = &mut to.values {
            values.push(value);
        }
    });
}

pub(crate) fn push_i64(to: &mut Vector, value: Option<i64>) {
    push(to, value, |to, value| {
        if let varve_model::batch::Values::I64(values) = &mut to.values {
            values.push(value);
        }
    });
}

pub(crate) fn push_text(to: &mut Vector, value: Option<&str>) {
    push(to, value, |to, value| {
        if let varve_model::batch::Values::String(values) = &mut to.values {
            values.push(value.as_bytes());
        }
    });
}

fn push<T>(to: &mut Vector, value: Option<T>, put: impl FnOnce(&mut Vector, T)) {
    match value {
        None => to.extend_null(1),
        Some(value) => {
            put(to, value);
            to.mark_valid();
        }
    }
}

pub(crate) fn sort(rows: &mut [Row]) {
    rows.sort_by(|a, b| a.partial_cmp(b).expect("no floats in the order: they are bits"));
}

/// Rows of a batch of columns 5, 2, 1, 4, 3.
fn rows_of(batch: &RecordBatch) -> Vec<Row> {
    let texts = |at: usize| {
        let array = batch.column(at).as_string_view();
        array.iter().map(|value| value.map(str::to_owned)).collect::<Vec<_>>()
    };
    let time = arrow_array::cast::downcast_array::<arrow_array::Int64Array>(&arrow_array::make_array(
        batch.column(1).to_data().into_builder().data_type(arrow_schema::DataType::Int64).build().expect("i64"),
    ));
    let (s, host) = (texts(0), texts(2));
    let i = batch.column(3).as_primitive::<Int64Type>();
    let f = batch.column(4).as_primitive::<Float64Type>();
    (0..batch.num_rows())
        .map(|at| Row {
            host: host[at].clone(),
            ts: time.value(at),
            f: f.is_valid(at).then(|| f.value(at).to_bits()),
            i: i.is_valid(at).then(|| i.value(at)),
            s: s[at].clone(),
        })
        .collect()
}

/// The rows that a region must answer with, kept in the most naive way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    rows: Vec<Row>,
}

impl Model {
    pub(crate) fn write(&mut self, rows: &[Row]) {
        self.rows.extend_from_slice(rows);
    }

    pub(crate) fn delete(&mut self, hosts: Option<&[Option<String>]>, time: TimeRange) {
        self.rows.retain(|row| !(time.contains(row.ts) && hosts.is_none_or(|hosts| hosts.contains(&row.host))));
    }

    /// Rows that match, merged, sorted.
    pub(crate) fn rows(&self, mode: MergeMode, wanted: impl Fn(&Row) -> bool) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut merged: BTreeMap<(Option<String>, i64), Row> = BTreeMap::new();
        for row in self.rows.iter().filter(|row| wanted(row)) {
            let key = (row.host.clone(), row.ts);
            match (mode, merged.get_mut(&key)) {
                (MergeMode::Append, _) => rows.push(row.clone()),
                (MergeMode::LastNonNull, Some(old)) => {
                    old.f = row.f.or(old.f);
                    old.i = row.i.or(old.i);
                    old.s = row.s.clone().or(old.s.take());
                }
                _ => {
                    merged.insert(key, row.clone());
                }
            }
        }
        rows.extend(merged.into_values());
        sort(&mut rows);
        rows
    }
}

pub(crate) fn hours(hours: i64) -> i64 {
    WALL_NANOS + hours * 3_600_000_000_000
}

pub(crate) fn day_ttl() -> Ttl {
    Ttl::For(Duration::from_hours(24))
}
