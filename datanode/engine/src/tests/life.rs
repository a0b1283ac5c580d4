use proptest::prelude::*;
use varve_model::matcher::{MatchOp, Matcher, MissingTag};
use varve_model::table::{MergeMode, Ttl};
use varve_model::time::{TimeRange, TimeUnit};

use super::kit::{Lab, Model, Row, WALL_NANOS, day_ttl, hours, sort, table};
use crate::compaction::Force;

#[derive(Clone, Debug)]
enum Op {
    Write(Vec<Row>),
    /// Each row a block of its own, so that blocks are sealed.
    Trickle(Vec<Row>),
    Delete(Option<Vec<Option<String>>>, TimeRange),
    Flush,
    Compact,
    CompactFinal,
    Reopen,
}

fn host() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        Just(None),
        Just(Some(String::new())),
        Just(Some("a".to_owned())),
        Just(Some("b".to_owned())),
        Just(Some("c".to_owned())),
    ]
}

/// Few distinct times, over buckets and days, and the ends of i64.
fn ts() -> impl Strategy<Value = i64> {
    prop_oneof![
        12 => (-3i64..3).prop_map(|at| hours(-30) + at * 1_000_000_000),
        6 => (0i64..14).prop_map(|at| hours(-at * 5)),
        2 => Just(hours(1)),
        1 => Just(i64::MIN),
        1 => Just(i64::MAX),
        1 => Just(0),
    ]
}

fn row() -> impl Strategy<Value = Row> {
    let f = prop_oneof![
        any::<u64>(),
        Just(0x7ff0_0000_0000_0002),
        Just((-0.0f64).to_bits()),
        Just(f64::NAN.to_bits()),
        Just(1.5f64.to_bits())
    ];
    let i = prop_oneof![any::<i64>(), Just(i64::MIN), Just(7)];
    (host(), ts(), proptest::option::of(f), proptest::option::of(i), proptest::option::of("[xy]{0,20}"))
        .prop_map(|(host, ts, f, i, s)| Row { host, ts, f, i, s })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => proptest::collection::vec(row(), 1..20).prop_map(Op::Write),
        1 => proptest::collection::vec(row(), 20..50).prop_map(Op::Trickle),
        2 => (proptest::option::of(proptest::collection::vec(host(), 0..3)), ts(), ts())
            .prop_map(|(hosts, a, b)| Op::Delete(hosts, TimeRange { start: a.min(b), end: a.max(b) })),
        3 => Just(Op::Flush),
        1 => Just(Op::Compact),
        1 => Just(Op::CompactFinal),
        1 => Just(Op::Reopen),
    ]
}

async fn live(ops: Vec<Op>, mode: MergeMode, ttl: Ttl, window: TimeRange, hosts: Vec<Option<String>>) {
    let mut lab = Lab::new(table(mode, TimeUnit::Nanosecond), ttl);
    let mut model = Model::default();
    // A little of wall time passes while the test runs: keep clear of the edge.
    let alive = |row: &Row| ttl.duration().is_none_or(|ttl| row.ts >= WALL_NANOS - ttl.as_nanos() as i64);
    for op in ops {
        match &op {
            Op::Write(rows) => {
                lab.write(rows);
                model.write(rows);
            }
            Op::Trickle(rows) => {
                rows.chunks(1).for_each(|row| lab.write(row));
                model.write(rows);
            }
            Op::Delete(hosts, time) => {
                lab.delete(hosts.as_deref(), *time);
                model.delete(hosts.as_deref(), *time);
            }
            Op::Flush => lab.flush().await,
            Op::Compact => drop(lab.compact(Force::No, WALL_NANOS).await),
            Op::CompactFinal => drop(lab.compact(Force::Final, WALL_NANOS).await),
            Op::Reopen => lab.reopen().await,
        }
        assert_eq!(lab.rows(TimeRange::ALL, vec![]).await.expect("scan"), model.rows(mode, alive), "after {op:?}");
        let values = hosts.iter().flatten().cloned().collect::<Vec<_>>();
        let matcher = Matcher { tag: "host".into(), op: MatchOp::In(values.clone()), missing: MissingTag::Unknown };
        let wanted = |row: &Row| {
            alive(row) && window.contains(row.ts) && row.host.as_ref().is_some_and(|host| values.contains(host))
        };
        let matcher = vec![matcher];
        assert_eq!(lab.rows(window, matcher.clone()).await.expect("scan"), model.rows(mode, wanted));
        let counted = lab.batches(&lab.spec(window, matcher, &[])).await.expect("count");
        let counted = counted.iter().map(|batch| batch.num_rows()).sum::<usize>();
        assert_eq!(counted, model.rows(mode, wanted).len(), "count after {op:?}");
    }
}

fn block_on(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime").block_on(work);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_writes_deletes_flushes_compactions_and_reopens_answers_like_a_map(
        ops in proptest::collection::vec(op(), 1..14),
        mode in prop_oneof![Just(MergeMode::Append), Just(MergeMode::LastRow), Just(MergeMode::LastNonNull)],
        ttl in prop_oneof![Just(Ttl::Forever), Just(Ttl::For(std::time::Duration::from_mins(33 * 60 + 30)))],
        (a, b) in (ts(), ts()),
        hosts in proptest::collection::vec(host(), 0..3),
    ) {
        block_on(live(ops, mode, ttl, TimeRange { start: a.min(b), end: a.max(b) }, hosts));
    }
}

fn at(host: &str, ts: i64, i: i64) -> Row {
    Row { host: Some(host.into()), ts, f: None, i: Some(i), s: None }
}

#[tokio::test]
async fn a_flushed_older_row_does_not_hide_the_newer_one_in_memory() {
    let mut lab = Lab::new(table(MergeMode::LastRow, TimeUnit::Nanosecond), Ttl::Forever);
    lab.write(&[at("a", hours(0), 1)]);
    lab.flush().await;
    lab.write(&[at("a", hours(0), 2)]);
    assert_eq!(lab.rows(TimeRange::ALL, vec![]).await.expect("scan"), [at("a", hours(0), 2)]);
}

#[tokio::test]
async fn rows_older_than_the_ttl_are_not_read_wherever_they_are() {
    let mut lab = Lab::new(table(MergeMode::LastRow, TimeUnit::Nanosecond), day_ttl());
    lab.write(&[at("a", hours(-25), 1), at("a", hours(-23), 2)]);
    for _ in 0..2 {
        assert_eq!(lab.rows(TimeRange::ALL, vec![]).await.expect("scan"), [at("a", hours(-23), 2)]);
        lab.flush().await;
    }
}

#[tokio::test]
async fn seconds_are_kept_to_the_ends_of_what_a_file_can_hold() {
    let storable = crate::sst::types::storable(TimeUnit::Second);
    let mut lab = Lab::new(table(MergeMode::Append, TimeUnit::Second), Ttl::Forever);
    let mut rows = vec![at("a", storable.start, 1), at("a", storable.end, 2), at("b", -1, 3)];
    lab.write(&rows);
    lab.flush().await;
    sort(&mut rows);
    assert_eq!(lab.rows(TimeRange::ALL, vec![]).await.expect("scan"), rows);
    lab.compact(Force::Final, WALL_NANOS).await;
    assert_eq!(lab.rows(TimeRange::ALL, vec![]).await.expect("scan"), rows);
}

#[tokio::test]
async fn tag_questions_open_no_file() {
    let mut lab = Lab::new(table(MergeMode::LastRow, TimeUnit::Nanosecond), Ttl::Forever);
    lab.write(&[at("a", hours(0), 1), at("b", hours(0), 1)]);
    lab.flush().await;
    lab.reopen().await;
    let view = lab.set.view();
    assert_eq!(view.index.tag_values("host", &[]).expect("values"), ["a", "b"]);
    assert_eq!(view.index.series_keys(&[]).expect("keys").len(), 2);
    assert_eq!(view.open_files.opens(), 0);
    lab.rows(TimeRange::ALL, vec![]).await.expect("scan");
    assert!(lab.set.view().open_files.opens() > 0, "the counter counts");
}

#[tokio::test]
async fn a_flush_of_many_buckets_makes_few_files_and_compaction_cuts_them_by_bucket() {
    let mut lab = Lab::new(table(MergeMode::LastRow, TimeUnit::Nanosecond), Ttl::Forever);
    let rows = (0..60).map(|at_hour| at("a", hours(-4 * at_hour), at_hour)).collect::<Vec<_>>();
    lab.write(&rows);
    lab.flush().await;
    assert_eq!(lab.files.len(), 8);
    assert_eq!(lab.files.iter().filter(|file| file.bucket.is_none()).count(), 1);
    lab.compact(Force::Final, WALL_NANOS).await;
    assert!(lab.files.iter().all(|file| file.bucket.is_some_and(|bucket| bucket.width == 86_400_000_000_000)));
    assert_eq!(lab.files.len(), 11);
    assert_eq!(lab.rows(TimeRange::ALL, vec![]).await.expect("scan").len(), 60);
}

#[tokio::test]
async fn a_reader_pins_the_files_of_its_view() {
    let mut lab = Lab::new(table(MergeMode::LastRow, TimeUnit::Nanosecond), Ttl::Forever);
    for i in 0..2 {
        lab.write(&[at("a", hours(-48), i)]);
        lab.flush().await;
    }
    let old = lab.files[0].name;
    let reader = lab.set.view();
    lab.compact(Force::No, WALL_NANOS).await;
    assert!(!lab.files.iter().any(|file| file.name == old), "replaced");
    assert!(lab.set.in_use(old));
    drop(reader);
    assert!(!lab.set.in_use(old));
}

#[cfg(feature = "seeded-bugs")]
#[tokio::test]
async fn the_planted_bug_that_prunes_by_value_below_the_merge_is_found() {
    use crate::fault::bug::{Bug, set};
    let mut lab = Lab::new(table(MergeMode::LastRow, TimeUnit::Nanosecond), Ttl::Forever);
    lab.write(&[at("a", hours(0), 1)]);
    lab.flush().await;
    lab.write(&[at("a", hours(0), 2)]);
    set(Some(Bug::ValuePruningBeforeMerge));
    let rows = lab.rows(TimeRange::ALL, vec![]).await;
    set(None);
    assert_ne!(rows.expect("scan"), [at("a", hours(0), 2)]);
}
