use proptest::prelude::*;
use uuid::Uuid;
use varve_model::id::{RegionEpoch, RegionId, SchemaVersion, Sequence};
use varve_model::time::{TimeRange, TimeUnit};

use super::pick::is_convex;
use super::retention::expired;
use super::*;
use crate::sst::bucket;
use crate::sst::meta::{Bucket, FileMeta, FileName, Tombstone, TombstoneSeries};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// A file of a table in seconds. Its bucket starts at this hour and is so many hours wide.
fn file(seq: u64, hour: i64, wide: i64) -> FileMeta {
    let start = hour * HOUR;
    FileMeta {
        name: FileName { epoch: RegionEpoch(1), uuid: Uuid::from_u128(u128::from(seq) << 64 | hour as u128) },
        origin: RegionId(1),
        series_offset: 0,
        bytes: 100,
        crc32c: 0,
        sidecar_bytes: 10,
        sidecar_crc32c: 0,
        rows: 100,
        time: TimeRange { start, end: start + wide * HOUR - 1 },
        bucket: Some(Bucket { start, width: wide * HOUR }),
        level: u8::from(wide == 24) * 2,
        rollup: 0,
        seq: (Sequence(seq), Sequence(seq)),
        unique: true,
        schema_version: SchemaVersion(0),
        order: 1,
        series: 1,
        key_range: None,
    }
}

fn late(seq: u64, hours: std::ops::Range<i64>) -> FileMeta {
    let time = TimeRange { start: hours.start * HOUR, end: hours.end * HOUR - 1 };
    FileMeta { bucket: None, time, ..file(seq, hours.start, 4) }
}

fn at(hour: i64) -> Now {
    Now { wall_nanos: hour * HOUR * 1_000_000_000, unit: TimeUnit::Second }
}

fn names(files: &[&FileMeta]) -> Vec<FileName> {
    files.iter().map(|file| file.name).collect()
}

#[test]
fn an_open_window_is_left_alone_and_a_closed_one_is_merged_whole() {
    let files = [file(1, 0, 4), file(2, 0, 4), file(3, 0, 4)];
    assert_eq!(pick(&files, &[], at(4), Force::No), None, "lateness");
    let task = pick(&files, &[], at(5), Force::No).expect("closed");
    assert_eq!(task, Task { inputs: names(&[&files[0], &files[1], &files[2]]), width: 4 * HOUR, level: 1 });
    assert_eq!(pick(&files[..1], &[], at(5), Force::No), None, "one file is final for a young window");
}

#[test]
fn a_closed_day_is_brought_into_its_final_order_once() {
    let files = [file(1, 0, 4), file(2, 4, 4), file(3, 20, 4)];
    assert_eq!(pick(&files, &[], at(24), Force::No), None, "lateness");
    let task = pick(&files, &[], at(25), Force::No).expect("closed");
    assert_eq!((task.inputs.len(), task.width, task.level), (3, DAY, 2));
    assert_eq!(pick(&[file(3, 0, 24)], &[], at(100), Force::No), None);
    assert_eq!(pick(&[file(3, 0, 24)], &[], at(100), Force::Final), None);
}

#[test]
fn a_little_late_data_does_not_rewrite_a_day_until_forced() {
    let mut day = file(3, 0, 24);
    day.rows = 100_000;
    let files = [day, file(9, 4, 4)];
    assert_eq!(pick(&files, &[], at(100), Force::No), None);
    assert_eq!(pick(&files, &[], at(100), Force::Final).expect("forced").inputs.len(), 2);
    let mut many = files.to_vec();
    many.extend((10..18).map(|seq| file(seq, 4, 4)));
    assert!(pick(&many, &[], at(100), Force::No).is_some());
}

#[test]
fn forcing_does_not_wait_for_a_window_to_close() {
    let files = [file(1, 0, 4), file(2, 0, 4)];
    assert_eq!(pick(&files, &[], at(1), Force::Final).expect("forced").width, DAY);
}

#[test]
fn too_many_files_are_merged_by_young_windows_oldest_first() {
    let files = (0..40).map(|seq| file(seq, 0, 4)).collect::<Vec<_>>();
    let task = pick(&files, &[], at(100), Force::No).expect("closed");
    assert_eq!(task.inputs, names(&files[..32].iter().collect::<Vec<_>>()));
    assert_eq!(task.width, 4 * HOUR);
}

#[test]
fn a_day_of_too_many_cut_files_is_merged_in_runs() {
    let cut = |seq| FileMeta { level: 2, bucket: Some(bucket::bucket(0, DAY)), ..file(seq, 0, 24) };
    let files = (0..40).map(cut).collect::<Vec<_>>();
    let task = pick(&files, &[], at(100), Force::No).expect("closed");
    assert_eq!(task.inputs, names(&files[..32].iter().collect::<Vec<_>>()));
    assert_eq!(task.width, DAY);
}

#[test]
fn late_rows_of_several_buckets_are_cut_up_alone() {
    let files = [late(5, 0..40), file(1, 0, 4), file(9, 0, 4)];
    let task = pick(&files, &[], at(100), Force::No).expect("closed");
    assert_eq!((task.inputs, task.width), (names(&[&files[0]]), DAY));
    assert_eq!(pick(&files[..1], &[], at(30), Force::No), None, "its newest window is open");
}

#[test]
fn a_file_in_between_forbids_merging_fields() {
    let files = [file(1, 0, 4), file(9, 0, 4), late(5, 0..40)];
    let outer = [&files[0], &files[1]];
    assert!(!is_convex(&outer, &files, &[]));
    assert!(is_convex(&[&files[0], &files[1], &files[2]], &files, &[]));
    assert!(is_convex(&[&files[2]], &files, &[]), "one generation is always convex");
    let time = TimeRange { start: 0, end: 5 };
    let mask =
        |sequence| Tombstone { sequence: Sequence(sequence), series: TombstoneSeries::All, time, key_range: None };
    assert!(!is_convex(&outer, &files[..2], &[mask(5)]));
    assert!(is_convex(&outer, &files[..2], &[mask(9), mask(1)]));
    // The open window of the late file keeps it; the pair around it waits.
    assert_eq!(pick(&files, &[], at(30), Force::No), None);
}

#[test]
fn only_files_without_a_living_row_expire() {
    let files = [file(1, 0, 4), file(2, 4, 4)];
    assert_eq!(expired(&files, TimeRange { start: 4 * HOUR, end: i64::MAX }), names(&[&files[0]]));
    assert_eq!(expired(&files, TimeRange { start: 4 * HOUR - 1, end: i64::MAX }), []);
}

/// What running a task would leave, by times alone.
fn simulate(files: &mut Vec<FileMeta>, task: &Task, next: &mut u128) {
    let (inputs, rest): (Vec<_>, Vec<_>) = files.drain(..).partition(|file| task.inputs.contains(&file.name));
    *files = rest;
    let mut outputs = std::collections::BTreeMap::<i64, FileMeta>::new();
    for input in inputs {
        let (first, last) = (bucket::number(input.time.start, task.width), bucket::number(input.time.end, task.width));
        for number in first..=last {
            let window = bucket::bucket(number, task.width);
            let output = outputs.entry(number).or_insert_with(|| FileMeta {
                rows: 0,
                bucket: Some(window),
                level: task.level,
                time: TimeRange::EMPTY,
                ..input.clone()
            });
            output.rows += input.rows;
            output.time = output.time.union(input.time.intersect(window.time()));
            output.seq = (output.seq.0.min(input.seq.0), output.seq.1.max(input.seq.1));
        }
    }
    for (_, mut output) in outputs {
        *next += 1;
        output.name.uuid = Uuid::from_u128(*next);
        files.push(output);
    }
}

proptest! {
    #[test]
    fn tasks_are_bounded_convex_and_lead_to_few_files_a_day_and_if_forced_to_one(
        flushes in proptest::collection::vec((0i64..18, 0u8..8), 1..60),
        closed in any::<bool>(),
    ) {
        let mut files = flushes.iter().enumerate().map(|(seq, &(window, kind))| match kind {
            0 => late(seq as u64 + 1, window..window + 9),
            _ => file(seq as u64 + 1, window * 4, 4),
        }).collect::<Vec<_>>();
        let mut next = 1u128 << 100;
        if closed {
            run_all(&mut files, at(10_000), Force::No, &mut next)?;
            let most = files_a_day(&files).into_values().max().expect("a flush left a file");
            prop_assert!(most <= 8, "{} files of one day are left", most);
        }
        run_all(&mut files, at(0), Force::Final, &mut next)?;
        prop_assert!(files_a_day(&files).values().all(|count| *count == 1), "one file a day");
        prop_assert!(files.iter().all(|file| file.bucket.is_some_and(|bucket| bucket.width == DAY)));
    }
}

/// Runs tasks until none is left, checking each.
fn run_all(files: &mut Vec<FileMeta>, now: Now, force: Force, next: &mut u128) -> Result<(), TestCaseError> {
    for _ in 0..200 {
        let Some(task) = pick(files, &[], now, force) else { return Ok(()) };
        let inputs = files.iter().filter(|file| task.inputs.contains(&file.name)).collect::<Vec<_>>();
        prop_assert!(!inputs.is_empty() && inputs.len() <= 32 && inputs.len() == task.inputs.len());
        prop_assert!(is_convex(&inputs, files, &[]));
        simulate(files, &task, next);
    }
    Err(TestCaseError::fail("the tasks do not come to an end"))
}

fn files_a_day(files: &[FileMeta]) -> std::collections::BTreeMap<i64, usize> {
    let mut days = std::collections::BTreeMap::new();
    for file in files {
        *days.entry(file.bucket.expect("cut").start.div_euclid(DAY)).or_default() += 1;
    }
    days
}
