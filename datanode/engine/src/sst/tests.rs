use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, Int64Array, UInt64Array};
use arrow_schema::DataType;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use proptest::prelude::*;
use varve_model::ErrorKind;
use varve_model::batch::{Bytes, FieldColumn, Values, Vector};
use varve_model::id::ColumnId;
use varve_model::schema::{LogicalType, NewColumn, Schema};
use varve_model::table::{MergeMode, Ttl};
use varve_model::time::{TimeRange, TimeUnit};

use super::sidecar::{Check, Sidecar};
use super::*;
use crate::compaction::Force;
use crate::format::fixture;
use crate::tests::kit::{Lab, Row, WALL_NANOS, hours, key, table, table_of};

fn row(host: &str, ts: i64, i: i64) -> Row {
    Row { host: Some(host.into()), ts, f: Some((i as f64 / 3.0).to_bits()), i: Some(i), s: Some(format!("text {i}")) }
}

async fn object(lab: &Lab, path: &Path) -> Vec<u8> {
    lab.store.get(path).await.expect("get").bytes().await.expect("bytes").to_vec()
}

async fn put(lab: &Lab, path: &Path, bytes: Vec<u8>) {
    lab.store.put(path, PutPayload::from(bytes)).await.expect("put");
}

async fn one_file() -> (Lab, Vec<Row>) {
    let mut lab = Lab::new(table(MergeMode::LastRow, TimeUnit::Millisecond), Ttl::Forever);
    let rows = (0..40).map(|at| row(["a", "b"][at % 2], at as i64 / 2 * 1000, at as i64)).collect::<Vec<_>>();
    lab.write(&rows);
    lab.flush().await;
    let rows = lab.rows(TimeRange::ALL, vec![]).await.expect("scan");
    assert_eq!((lab.files.len(), rows.len()), (1, 40));
    (lab, rows)
}

#[tokio::test]
async fn a_flipped_bit_in_a_data_file_or_sidecar_never_changes_an_answer() {
    let (mut lab, rows) = one_file().await;
    let name = lab.files[0].name;
    for path in [lab.ctx.paths.data(name), lab.ctx.paths.sidecar(name)] {
        let good = object(&lab, &path).await;
        let (mut seen, mut unread) = (0, 0);
        for at in (0..good.len()).step_by(5) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            put(&lab, &path, bad).await;
            lab.reopen().await;
            match lab.rows(TimeRange::ALL, vec![]).await {
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
                    seen += 1;
                }
                // In a column that this scan does not read.
                Ok(answer) => {
                    assert_eq!(answer, rows, "byte {at} of {path}");
                    unread += 1;
                }
            }
        }
        assert!(seen > unread * 2, "{path}: {seen} seen, {unread} not read");
        for len in [0, 1, good.len() / 2, good.len() - 1] {
            put(&lab, &path, good[..len].to_vec()).await;
            lab.reopen().await;
            let error = lab.rows(TimeRange::ALL, vec![]).await.expect_err("cut short");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        }
        put(&lab, &path, good).await;
    }
    lab.reopen().await;
    assert_eq!(lab.rows(TimeRange::ALL, vec![]).await.expect("scan"), rows);
}

#[tokio::test]
async fn a_file_that_is_gone_is_damage() {
    let (mut lab, _) = one_file().await;
    let path = lab.ctx.paths.data(lab.files[0].name);
    lab.store.delete(&path).await.expect("delete");
    lab.reopen().await;
    let error = lab.rows(TimeRange::ALL, vec![]).await.expect_err("gone");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

fn wide(columns: usize) -> Schema {
    let mut list = vec![NewColumn::tag("host"), NewColumn::time("time", TimeUnit::Nanosecond)];
    list.extend((0..columns - 2).map(|at| NewColumn::field(format!("f{at}"), LogicalType::Int64)));
    Schema::create(list, &["host".to_owned()]).expect("schema")
}

fn ints(column: u32, values: Vec<i64>) -> FieldColumn {
    FieldColumn { column: ColumnId(column), vector: Vector { values: Values::I64(values), validity: None } }
}

#[tokio::test]
async fn a_thousand_columns_most_of_them_empty_come_back() {
    let mut lab = Lab::new(table_of(wide(1000), MergeMode::LastNonNull), Ttl::Forever);
    for at in [3u32, 500, 1000] {
        lab.write_columns(&[key(Some("a"))], vec![hours(0)], vec![ints(at, vec![i64::from(at)])]);
        lab.flush().await;
    }
    lab.compact(Force::Final, WALL_NANOS).await;
    let all = (1..=1000).collect::<Vec<u32>>();
    let batches = lab.batches(&lab.spec(TimeRange::ALL, vec![], &all)).await.expect("scan");
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1);
    let column = |id: usize| batches[0].column(id - 1).as_primitive::<arrow_array::types::Int64Type>().clone();
    for id in 3..=1000 {
        let expected = [3, 500, 1000].contains(&id).then_some(id as i64);
        assert_eq!(column(id).iter().next().expect("one row"), expected, "column {id}");
    }
}

#[tokio::test]
async fn all_types_survive_a_file_and_a_new_column_reads_null_from_an_old_one() {
    let columns = vec![
        NewColumn::tag("host"),
        NewColumn::time("time", TimeUnit::Microsecond),
        NewColumn::field("u", LogicalType::UInt64),
        NewColumn::field("b", LogicalType::Boolean),
        NewColumn::field("j", LogicalType::Json),
        NewColumn::field("x", LogicalType::Binary),
    ];
    let schema = Schema::create(columns, &["host".to_owned()]).expect("schema");
    let wider = schema.add_columns(vec![NewColumn::field("late", LogicalType::Float64), NewColumn::tag("dc")]);
    let mut lab = Lab::new(table_of(schema, MergeMode::LastRow), Ttl::Forever);
    let bytes = |values: &[&[u8]]| {
        let mut bytes = Bytes::default();
        for value in values {
            bytes.push(value);
        }
        bytes
    };
    let vectors = [
        Values::U64(vec![u64::MAX, 0]),
        Values::Bool(vec![true, false]),
        Values::Json(bytes(&[b"{}", b"[1]"])),
        Values::Binary(bytes(&[b"\xff\x00", b""])),
    ];
    let fields = vectors
        .into_iter()
        .zip(3..)
        .map(|(values, id)| FieldColumn { column: ColumnId(id), vector: Vector { values, validity: None } });
    lab.write_columns(&[key(Some("a")), key(Some("b"))], vec![1, 2], fields.collect());
    lab.flush().await;
    lab.table = Arc::new(table_of(wider.expect("wider"), MergeMode::LastRow));
    lab.set.alter(lab.table.clone(), Ttl::Forever);
    for _ in 0..2 {
        let batches = lab.batches(&lab.spec(TimeRange::ALL, vec![], &[3, 4, 5, 6, 7, 8])).await.expect("scan");
        assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 2);
        let batch = arrow_select::concat::concat_batches(&batches[0].schema(), &batches).expect("one batch");
        let u64s = batch.column(0).as_primitive::<arrow_array::types::UInt64Type>();
        assert_eq!(u64s, &UInt64Array::from(vec![u64::MAX, 0]));
        assert_eq!(batch.column(1).as_boolean().iter().collect::<Vec<_>>(), [Some(true), Some(false)]);
        assert_eq!(batch.column(2).as_string_view().iter().collect::<Vec<_>>(), [Some("{}"), Some("[1]")]);
        assert_eq!(batch.column(3).as_binary_view().iter().collect::<Vec<_>>(), [Some(&b"\xff\x00"[..]), Some(b"")]);
        assert_eq!((batch.column(4).null_count(), batch.column(5).null_count()), (2, 2));
        assert_eq!(batch.column(4).data_type(), &DataType::Float64);
        // Rewritten under the wider schema.
        let task = crate::compaction::Task {
            inputs: vec![lab.files[0].name],
            width: bucket::width(24, TimeUnit::Microsecond),
            level: 2,
        };
        let output = crate::compaction::run(&lab.ctx, &lab.set.view(), &task).await.expect("rewrite");
        lab.files = output.add;
        lab.set.install(lab.files.clone(), vec![], None);
    }
}

fn a_sidecar() -> Vec<u8> {
    let run = |series, first_row, rows| Run {
        series,
        first_row,
        rows,
        bucket: -5,
        time: TimeRange { start: i64::MIN, end: i64::MAX },
    };
    let sidecar = Sidecar {
        runs: vec![run(9, 0, 3), run(2, 3, 1)],
        checks: vec![Check { end: 10, crc32c: 1 }, Check { end: 12, crc32c: 2 }],
    };
    let bytes = sidecar::encode(&sidecar, &[b"\x01h\x01a".to_vec(), vec![]], &[0; 12], 77).expect("encode");
    assert_eq!(sidecar::decode(bytes.clone()).expect("decode"), sidecar);
    bytes.to_vec()
}

/// Writes a fixture that is missing. Bytes depend on the Parquet library's version, so an old one is read, not compared.
fn keep(format: &str, name: &str, bytes: &[u8]) {
    if std::env::var_os("UPDATE_FIXTURES").is_some()
        && std::panic::catch_unwind(|| fixture::load(format, name)).is_err()
    {
        fixture::check(format, name, bytes);
    }
}

#[tokio::test]
async fn files_of_the_first_version_can_be_read() {
    let (lab, rows) = one_file().await;
    let meta = &lab.files[0];
    keep("sst", "two-series", &object(&lab, &lab.ctx.paths.data(meta.name)).await);
    keep("sst", "two-series-entry", &serde_json::to_vec(meta).expect("json"));
    keep("sidecar", "two-series", &object(&lab, &lab.ctx.paths.sidecar(meta.name)).await);
    let mut old = Lab::new(table(MergeMode::LastRow, TimeUnit::Millisecond), Ttl::Forever);
    let meta: meta::FileMeta = serde_json::from_slice(&fixture::load("sst", "two-series-entry")).expect("entry");
    put(&old, &old.ctx.paths.data(meta.name), fixture::load("sst", "two-series")).await;
    put(&old, &old.ctx.paths.sidecar(meta.name), fixture::load("sidecar", "two-series")).await;
    old.flushed_to = meta.seq.1;
    old.files = vec![meta];
    old.segments.clone_from(&lab.segments);
    for path in old.segments.iter().map(|segment| old.ctx.paths.index(segment.name)) {
        put(&old, &path, object(&lab, &path).await).await;
    }
    old.reopen().await;
    assert_eq!(old.rows(TimeRange::ALL, vec![]).await.expect("scan"), rows);
}

#[test]
fn rare_changes_take_a_dictionary_and_walks_take_deltas() {
    let schema = wide(4);
    let arrow = schema::file_schema(&schema);
    let rows = 1000usize;
    let column = |name: &str| arrow.fields().iter().find(|field| field.name() == name).expect("field").clone();
    assert_eq!(column("time").data_type(), &types::time_type(TimeUnit::Nanosecond));
    let arrays: Vec<arrow_array::ArrayRef> = vec![
        Arc::new(arrow_array::UInt32Array::from(vec![0; rows])),
        Arc::new(arrow_array::TimestampNanosecondArray::from(vec![0; rows])),
        Arc::new((0..rows as i64).map(|at| at / 100).collect::<Int64Array>()),
        Arc::new((0..rows as i64).map(|at| at % 50).collect::<Int64Array>()),
        Arc::new(UInt64Array::from(vec![1; rows])),
        Arc::new(arrow_array::StringViewArray::from(vec!["a"; rows])),
    ];
    let sample = arrow_array::RecordBatch::try_new(arrow.clone(), arrays).expect("batch");
    let (properties, _) = encoding::choose(&schema, &arrow, &sample).expect("choose");
    let dictionary = |name: &str| properties.dictionary_enabled(&parquet::schema::types::ColumnPath::from(name));
    assert!(dictionary("f0") && !dictionary("f1") && !dictionary("time") && dictionary("host"));
}

#[tokio::test]
async fn a_sidecar_of_another_format_is_refused() {
    let (lab, _) = one_file().await;
    let mut bytes = object(&lab, &lab.ctx.paths.sidecar(lab.files[0].name)).await;
    let key = bytes.windows(12).position(|bytes| bytes == b"varve.format").expect("the key");
    // Thrift: the value's field and length lie between key and value.
    assert_eq!(bytes[key + 14], b'1');
    bytes[key + 14] = b'2';
    let error = sidecar::decode(bytes.into()).expect_err("format 2");
    assert!(error.to_string().contains("unknown format"), "{error}");
}

proptest! {
    #[test]
    fn hostile_sidecars_are_errors(at in 0usize..10_000, byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = a_sidecar();
        let at = at % bytes.len();
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] = byte;
        }
        drop(sidecar::decode(bytes.into()));
    }

    #[test]
    fn buckets_tile_all_of_time(ts in any::<i64>(), hours in prop_oneof![Just(4i64), Just(24)]) {
        let width = bucket::width(hours, TimeUnit::Nanosecond);
        let bucket = bucket::bucket(bucket::number(ts, width), width);
        prop_assert!(bucket.time().contains(ts));
        prop_assert_eq!(bucket::number(bucket.start, width), bucket::number(ts, width));
        if bucket.time().end < i64::MAX {
            prop_assert_eq!(bucket::number(bucket.time().end + 1, width), bucket::number(ts, width) + 1);
        }
    }
}
