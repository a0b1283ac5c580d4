//! The local log: what a crash may tear, what is damage, who may be confirmed.

use futures::TryStreamExt;
use varve_service::clock::ManualClock;
use varve_service::task::Blocking;

use super::*;
use crate::format::segment::HEADER;
use crate::wal::sample::{self, encoded};

const CLUSTER: ClusterId = ClusterId(1);

fn block(region: u64, first_seq: u64, rows: u64) -> Block {
    sample::block(RegionId(region), first_seq, rows)
}

struct Node {
    wal: LocalWal,
    tasks: TaskSet,
}

fn small() -> LocalOptions {
    LocalOptions { segment_bytes: 2048, group_bytes_max: 1024, ..LocalOptions::default() }
}

fn try_start(disk: &SimDisk, session: u64, options: LocalOptions) -> Result<Node> {
    let locked = LockedWal::lock(Disk::Shim(disk.clone()), 42)?;
    let tasks = TaskSet::new(Blocking::Inline);
    let clock: SharedClock = Arc::new(ManualClock::new(session, 0));
    let wal = locked.recover(CLUSTER, NodeEpoch(session), options)?.start(tasks.clone(), clock);
    Ok(Node { wal, tasks })
}

fn start(disk: &SimDisk, session: u64) -> Node {
    try_start(disk, session, small()).unwrap()
}

impl Node {
    async fn append(&self, block: &Block) -> Result<super::super::Position> {
        self.wal.append(encoded(block)).await?.durable().await
    }

    async fn replay(&self, region: u64, after: u64) -> Result<Vec<Block>> {
        self.wal.replay(RegionId(region), Sequence(after), &[]).try_collect().await
    }

    fn kill(self, disk: &SimDisk) {
        self.tasks.kill();
        disk.kill();
    }
}

#[tokio::test(start_paused = true)]
async fn each_region_replays_its_own_blocks_in_order() {
    let disk = SimDisk::new();
    let node = start(&disk, 1);
    for at in 0..40 {
        node.append(&block(1, 1 + at * 10, 10)).await.unwrap();
        node.append(&block(2, 1 + at * 5, 5)).await.unwrap();
    }
    assert!(disk.list().len() > 5, "several segments");
    node.kill(&disk);
    let node = start(&disk, 2);
    let blocks = node.replay(1, 100).await.unwrap();
    assert_eq!(blocks, (10..40).map(|at| block(1, 1 + at * 10, 10)).collect::<Vec<_>>());
    assert_eq!(node.replay(2, 0).await.unwrap().len(), 40);
    assert_eq!(node.replay(3, 0).await.unwrap(), vec![]);
    assert_eq!(node.wal.sources(RegionId(1), Sequence(399), &[]).len(), 2);
    assert_eq!(node.wal.sources(RegionId(1), Sequence(400), &[]).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn waiters_share_one_sync() {
    let disk = SimDisk::new();
    let node = start(&disk, 1);
    node.append(&block(1, 1, 1)).await.unwrap();
    let before = disk.syncs();
    let mut pending = Vec::new();
    for at in 0..20 {
        pending.push(node.wal.append(encoded(&block(2 + at, 1, 1))).await.unwrap());
    }
    for mut pending in pending {
        pending.durable().await.unwrap();
    }
    let syncs = disk.syncs() - before;
    assert!(syncs <= 6, "{syncs} syncs for 20 blocks");
}

#[tokio::test(start_paused = true)]
async fn trimmed_segments_go_and_the_rest_stays() {
    let disk = SimDisk::new();
    let node = start(&disk, 1);
    for at in 0..60 {
        node.append(&block(1, 1 + at * 10, 10)).await.unwrap();
    }
    node.append(&block(2, 1, 1)).await.unwrap();
    let segments = disk.list().len();
    node.wal.trim(RegionId(1), Sequence(600)).await.unwrap();
    assert!(disk.list().len() < segments);
    assert_eq!(node.wal.status().regions, vec![RegionId(2)]);
    node.kill(&disk);
    let node = start(&disk, 2);
    assert_eq!(node.replay(2, 0).await.unwrap().len(), 1);
    node.wal.trim(RegionId(2), Sequence(1)).await.unwrap();
    node.wal.trim(RegionId(1), Sequence(600)).await.unwrap();
    assert_eq!(node.wal.status().bytes, 0);
}

/// Writes a next record that the process does not live to sync. `count` records are there.
fn leave_unsynced(disk: &SimDisk, node: &Node, count: u64, next: &Block) {
    use crate::format::segment::{RECORD, RecordKind, seal_record, take_record};
    let (id, offset) = {
        let index = node.wal.shared.index.lock();
        let (id, segment) = index.segments.last_key_value().unwrap();
        (*id, segment.bytes)
    };
    let name = segment_name(id.0, id.1);
    let bytes = disk.read(&name, 0, u64::MAX).unwrap();
    let (mut at, mut crc) = (HEADER, 0);
    while let Ok((head, body)) = take_record(&bytes[at..]) {
        (at, crc) = (at + RECORD + body.len(), head.crc32c);
    }
    assert_eq!(at as u64, offset);
    let mut record = vec![0; RECORD];
    record.extend_from_slice(&encoded(next).bytes);
    seal_record(&mut record, RecordKind::Group, NodeEpoch(1), count, crc);
    disk.write_unsynced(&name, offset, &record);
}

#[tokio::test(start_paused = true)]
async fn a_torn_last_record_is_dropped_and_confirmed_ones_stay() {
    let mut torn = 0;
    for seed in 0..60 {
        let disk = SimDisk::new();
        let node = try_start(&disk, 1, LocalOptions { segment_bytes: 128 << 10, ..LocalOptions::default() }).unwrap();
        let count = 1 + seed % 30;
        for at in 0..count {
            node.append(&block(1, 1 + at * 1000, 1000)).await.unwrap();
        }
        leave_unsynced(&disk, &node, count, &block(1, 1 + count * 1000, 1000));
        node.tasks.kill();
        disk.power_loss(seed);
        let node = start(&disk, 2);
        let blocks = node.replay(1, 0).await.unwrap();
        torn += usize::from(blocks.len() as u64 == count);
        assert!(blocks.len() as u64 >= count, "seed {seed}: {} of {count}", blocks.len());
        assert_eq!(blocks, (0..blocks.len() as u64).map(|at| block(1, 1 + at * 1000, 1000)).collect::<Vec<_>>());
    }
    assert!((6..58).contains(&torn), "{torn} of 60 torn");
}

#[tokio::test(start_paused = true)]
async fn damage_before_a_whole_record_refuses_the_log_and_skipping_is_explicit() {
    let disk = SimDisk::new();
    let options = LocalOptions { segment_bytes: 1 << 20, ..LocalOptions::default() };
    let node = try_start(&disk, 1, options.clone()).unwrap();
    let mut positions = Vec::new();
    for at in 0..10 {
        positions.push(node.append(&block(1, 1 + at * 10, 10)).await.unwrap());
    }
    node.kill(&disk);
    disk.flip(&segment_name(NodeEpoch(1), 0), positions[4].offset * 8 + 700);
    let error = try_start(&disk, 2, options.clone()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("damaged"), "{error}");
    disk.kill();
    let skip = LocalOptions { damage: Damage::Skip, ..options };
    let node = try_start(&disk, 2, skip).unwrap();
    assert_eq!(node.replay(1, 0).await.unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_flipped_bit_in_the_last_record_is_a_torn_tail() {
    let disk = SimDisk::new();
    let node = try_start(&disk, 1, LocalOptions { segment_bytes: 1 << 20, ..small() }).unwrap();
    let mut last = 0;
    for at in 0..10 {
        last = node.append(&block(1, 1 + at * 10, 10)).await.unwrap().offset;
    }
    node.kill(&disk);
    disk.flip(&segment_name(NodeEpoch(1), 0), last * 8 + 300);
    let node = start(&disk, 2);
    assert_eq!(node.replay(1, 0).await.unwrap().len(), 9);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_block_of_a_closed_segment_stops_its_region_only() {
    let disk = SimDisk::new();
    let node = try_start(&disk, 1, LocalOptions::default()).unwrap();
    let position = node.append(&block(1, 1, 10)).await.unwrap();
    node.append(&block(2, 1, 10)).await.unwrap();
    node.wal.seal().await.unwrap();
    node.kill(&disk);
    disk.flip(&segment_name(NodeEpoch(1), 0), position.offset * 8 + 700);
    let node = start(&disk, 2);
    assert_eq!(node.replay(1, 0).await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(node.replay(2, 0).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_missing_segment_is_damage() {
    let disk = SimDisk::new();
    let node = start(&disk, 1);
    for at in 0..60 {
        node.append(&block(1, 1 + at * 10, 10)).await.unwrap();
    }
    node.kill(&disk);
    disk.remove(&segment_name(NodeEpoch(1), 1)).unwrap();
    assert_eq!(try_start(&disk, 2, small()).err().unwrap().kind(), ErrorKind::Corrupt);
}

/// How many blocks are left after: write without sync, kill, open and replay, lose power, open and replay.
async fn left_after_unsynced_write(seed: u64) -> usize {
    let disk = SimDisk::new();
    let node = start(&disk, 1);
    node.append(&block(1, 1, 40)).await.unwrap();
    leave_unsynced(&disk, &node, 1, &block(1, 41, 40));
    node.kill(&disk);
    let node = start(&disk, 2);
    assert_eq!(node.replay(1, 0).await.unwrap().len(), 2);
    node.tasks.kill();
    disk.power_loss(seed);
    match try_start(&disk, 3, small()) {
        Ok(node) => node.replay(1, 0).await.map_or(0, |blocks| blocks.len()),
        Err(_) => 0,
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_process_left_in_the_page_cache_survives_a_power_cut_after_open() {
    for seed in 0..50 {
        assert_eq!(left_after_unsynced_write(seed).await, 2, "seed {seed}");
    }
}

#[cfg(feature = "seeded-bugs")]
#[tokio::test(start_paused = true)]
async fn the_planted_bug_of_an_unsynced_open_is_found() {
    crate::fault::bug::set(Some(crate::fault::bug::Bug::NoSyncOnOpen));
    let mut lost = 0;
    for seed in 0..50 {
        lost += usize::from(left_after_unsynced_write(seed).await < 2);
    }
    crate::fault::bug::set(None);
    assert!(lost > 0);
}

#[tokio::test(start_paused = true)]
async fn a_volume_has_one_cluster_and_new_sessions_only() {
    let disk = SimDisk::new();
    let node = start(&disk, 5);
    node.append(&block(1, 1, 1)).await.unwrap();
    node.kill(&disk);
    let locked = LockedWal::lock(Disk::Shim(disk.clone()), 7).unwrap();
    assert_eq!((locked.seen_epoch(), locked.cluster(), locked.volume()), (NodeEpoch(5), Some(CLUSTER), VolumeId(42)));
    assert_eq!(locked.recover(CLUSTER, NodeEpoch(5), small()).err().unwrap().kind(), ErrorKind::Fenced);
    let locked = LockedWal::lock(Disk::Shim(disk.clone()), 7).unwrap();
    assert_eq!(locked.recover(ClusterId(2), NodeEpoch(6), small()).err().unwrap().kind(), ErrorKind::InvalidRequest);
    let node = start(&disk, 6);
    assert!(node.wal.check_sources(&[Source { session: NodeEpoch(5), first: vec![(0, 0)] }]).await.is_ok());
    let elsewhere = node.wal.check_sources(&[Source { session: NodeEpoch(4), first: vec![(0, 0)] }]).await.unwrap_err();
    assert_eq!(elsewhere.kind(), ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_block_behind_a_refused_one_is_refused() {
    let disk = SimDisk::new();
    let node = start(&disk, 1);
    node.append(&block(1, 1, 10)).await.unwrap();
    assert_eq!(node.append(&block(1, 21, 10)).await.unwrap_err().kind(), ErrorKind::Busy);
    node.append(&block(1, 11, 10)).await.unwrap();
}

#[tokio::test]
async fn the_real_disk_does_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::Os(folder.path().join("data/wal"));
    let clock: SharedClock = Arc::new(varve_service::clock::SystemClock);
    let tasks = TaskSet::new(Blocking::Threads);
    let start = |session| {
        let locked = LockedWal::lock(disk.clone(), 3)?;
        Ok::<_, Error>(locked.recover(CLUSTER, NodeEpoch(session), small())?.start(tasks.clone(), Arc::clone(&clock)))
    };
    let wal = start(1).unwrap();
    for at in 0..30 {
        wal.append(encoded(&block(1, 1 + at * 10, 10))).await.unwrap().durable().await.unwrap();
    }
    assert!(LockedWal::lock(disk.clone(), 3).unwrap_err().to_string().contains("in use"));
    wal.seal().await.unwrap();
    assert!(wal.append(encoded(&block(1, 301, 10))).await.is_err());
    drop(wal);
    tasks.stop().await;
    let wal = start(2).unwrap();
    let blocks = wal.replay(RegionId(1), Sequence(0), &[]).try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(blocks.len(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_closed_segment_matches_its_fixture() {
    let disk = SimDisk::new();
    let node = start(&disk, 1);
    node.append(&block(1, 1, 3)).await.unwrap();
    node.append(&block(2, 1, 2)).await.unwrap();
    node.wal.seal().await.unwrap();
    let name = segment_name(NodeEpoch(1), 0);
    let bytes = disk.read(&name, 0, u64::MAX).unwrap();
    crate::format::fixture::check("local-segment", "closed", &bytes);
    // What was written once stays readable.
    let old = SimDisk::new();
    drop(start(&old, 1));
    old.kill();
    old.create(&name, 0).unwrap().write_at(0, &crate::format::fixture::load("local-segment", "closed")).unwrap();
    let node = start(&old, 2);
    assert_eq!(node.replay(1, 0).await.unwrap(), vec![block(1, 1, 3)]);
    assert_eq!(node.replay(2, 0).await.unwrap(), vec![block(2, 1, 2)]);
}
