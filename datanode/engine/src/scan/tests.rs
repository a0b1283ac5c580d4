use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use futures::{StreamExt, TryStreamExt};
use varve_model::ErrorKind;
use varve_model::batch::{FieldColumn, Values, Vector};
use varve_model::budget::Account;
use varve_model::id::ColumnId;
use varve_model::matcher::{MatchOp, Matcher, MissingTag};
use varve_model::schema::NewColumn;
use varve_model::series::encode_key;
use varve_model::table::{MergeMode, Ttl};
use varve_model::time::{TimeRange, TimeUnit};

use super::*;
use crate::compaction::Force;
use crate::tests::kit::{Lab, Row, WALL_NANOS, hours, table, table_of};

fn rows(count: i64) -> Vec<Row> {
    let host = |at: i64| Some(format!("host{}", at % 5));
    (0..count).map(|at| Row { host: host(at), ts: hours(0) + at, f: None, i: Some(at), s: None }).collect()
}

async fn filled() -> Lab {
    let mut lab = Lab::new(table(MergeMode::LastRow, TimeUnit::Nanosecond), Ttl::Forever);
    lab.write(&rows(1000));
    lab.flush().await;
    lab.write(&rows(500));
    lab
}

#[tokio::test]
async fn a_dropped_scan_gives_its_memory_back() {
    let lab = filled().await;
    let spec = lab.spec(TimeRange::ALL, vec![], &[1, 4]);
    let options = ScanOptions { group_rows: 100, batch_rows: 10, ..ScanOptions::default() };
    let mut scan = scan_with(lab.set.view(), &spec, &lab.ctx, options).await.expect("scan");
    assert_eq!(lab.ctx.account.bytes(), 0, "nothing is read before the first poll");
    let first = scan.streams[0].next().await.expect("a batch").expect("rows");
    assert_eq!(first.num_rows(), 10);
    assert!(lab.ctx.account.bytes() > 0);
    drop(scan);
    assert_eq!(lab.ctx.account.bytes(), 0);
}

#[tokio::test]
async fn a_scan_beyond_its_account_is_busy_and_not_fatal() {
    let mut lab = filled().await;
    lab.ctx.account = Account::root("tiny", 100);
    let error = lab.rows(TimeRange::ALL, vec![]).await.expect_err("no memory");
    assert_eq!(error.kind(), ErrorKind::Busy);
}

#[tokio::test]
async fn what_does_not_exist_is_refused_and_what_does_not_match_is_empty() {
    let lab = filled().await;
    let unknown = lab.batches(&lab.spec(TimeRange::ALL, vec![], &[77])).await.expect_err("no such column");
    assert_eq!(unknown.kind(), ErrorKind::InvalidRequest);
    let matcher = |op| vec![Matcher { tag: "host".into(), op, missing: MissingTag::Unknown }];
    let bad = lab.rows(TimeRange::ALL, matcher(MatchOp::Regex("(".into()))).await.expect_err("bad regex");
    assert_eq!(bad.kind(), ErrorKind::InvalidRequest);
    let opens = lab.set.view().open_files.opens();
    assert_eq!(lab.rows(TimeRange::ALL, matcher(MatchOp::IsNull)).await.expect("none"), []);
    assert_eq!(lab.rows(TimeRange::EMPTY, vec![]).await.expect("none"), []);
    assert_eq!(lab.set.view().open_files.opens(), opens, "no file is opened for nothing");
}

#[tokio::test]
async fn streams_share_the_series_and_each_is_in_key_order() {
    let lab = filled().await;
    let spec = lab.spec(TimeRange::ALL, vec![], &[1, 2]);
    let options = ScanOptions { streams_max: 3, stream_rows_min: 100, group_rows: 300, batch_rows: 64 };
    let scan = scan_with(lab.set.view(), &spec, &lab.ctx, options).await.expect("scan");
    assert_eq!(scan.streams.len(), 3);
    let (mut total, mut seen) = (0, Vec::new());
    for stream in scan.streams {
        let batches: Vec<RecordBatch> = stream.try_collect().await.expect("rows");
        let hosts = |batch: &RecordBatch| {
            batch.column(0).as_string_view().iter().flatten().map(str::to_owned).collect::<Vec<_>>()
        };
        let mut hosts = batches.iter().flat_map(hosts).collect::<Vec<_>>();
        total += hosts.len();
        assert!(hosts.is_sorted());
        hosts.dedup();
        seen.extend(hosts);
    }
    assert_eq!(total, 1000);
    assert_eq!(seen, ["host0", "host1", "host2", "host3", "host4"]);
}

#[tokio::test]
async fn a_tag_that_is_added_later_keeps_old_files_in_order() {
    let mut lab = Lab::new(table(MergeMode::LastNonNull, TimeUnit::Nanosecond), Ttl::Forever);
    let write = |lab: &mut Lab, series: &[(&str, Option<&str>)], ts: i64| {
        let keys = series.iter().map(|(host, dc)| {
            let mut tags = vec![(&b"host"[..], host.as_bytes())];
            tags.extend(dc.map(|dc| (&b"dc"[..], dc.as_bytes())));
            let mut key = Vec::new();
            encode_key(&mut tags, &mut key);
            key
        });
        let keys = keys.collect::<Vec<_>>();
        let vector = Vector { values: Values::I64((0..keys.len() as i64).collect()), validity: None };
        lab.write_columns(&keys, vec![ts; keys.len()], vec![FieldColumn { column: ColumnId(4), vector }]);
    };
    write(&mut lab, &[("z", None), ("a", None), ("m", None)], hours(-30));
    lab.flush().await;
    let wider = lab.table.schema.add_columns(vec![NewColumn::tag("dc")]).expect("wider");
    lab.table = Arc::new(table_of(wider, MergeMode::LastNonNull));
    lab.set.alter(lab.table.clone(), Ttl::Forever);
    write(&mut lab, &[("m", Some("2")), ("m", None), ("b", Some("1")), ("m", Some("")), ("z", Some("0"))], hours(-30));
    for _ in 0..3 {
        let options = ScanOptions::default();
        let spec = lab.spec(TimeRange::ALL, vec![], &[1, 6]);
        let scan = scan_with(lab.set.view(), &spec, &lab.ctx, options).await.expect("scan");
        let batches: Vec<RecordBatch> =
            scan.streams.into_iter().next().expect("one").try_collect().await.expect("rows");
        let batch = arrow_select::concat::concat_batches(&scan.schema, &batches).expect("one batch");
        let (host, dc) = (batch.column(0).as_string_view(), batch.column(1).as_string_view());
        let keys = host.iter().zip(dc.iter()).map(|(host, dc)| (host.expect("present"), dc)).collect::<Vec<_>>();
        let m = ["", "2"].map(|dc| ("m", Some(dc)));
        assert_eq!(keys, [("a", None), ("b", Some("1")), ("m", None), m[0], m[1], ("z", None), ("z", Some("0"))]);
        lab.flush().await;
        lab.compact(Force::Final, WALL_NANOS).await;
    }
}

#[tokio::test]
async fn a_series_too_long_for_memory_is_merged_in_steps_that_never_part_equal_times() {
    for mode in [MergeMode::Append, MergeMode::LastRow, MergeMode::LastNonNull] {
        let mut lab = Lab::new(table(mode, TimeUnit::Nanosecond), Ttl::Forever);
        let mut written = Vec::new();
        for generation in 0..3i64 {
            let row = |at: i64| Row {
                host: Some("a".into()),
                // Long stretches of one time, and times that only one generation has.
                ts: hours(0) + if at < 30 { at / 15 } else { at * 3 + generation },
                f: None,
                i: (at % 2 == generation % 2).then_some(generation * 1000 + at),
                s: None,
            };
            let rows = (0..60).map(row).collect::<Vec<_>>();
            lab.write(&rows);
            written.extend(rows);
            if generation < 2 {
                lab.flush().await;
            }
        }
        let mut model = crate::tests::kit::Model::default();
        model.write(&written);
        assert_eq!(lab.rows(TimeRange::ALL, vec![]).await.expect("scan"), model.rows(mode, |_| true), "{mode:?}");
    }
}
