//! One session's lane: batches, confirmation, lost replies, trimming, cost.

use super::*;

#[tokio::test(start_paused = true)]
async fn each_region_replays_its_own_blocks_in_order() {
    let world = World::new(1);
    let node = world.begin(1).await.unwrap();
    for at in 0..20 {
        let (one, two) = (block(ONE, 1 + at * 10, 10), block(TWO, 1 + at * 500, 500));
        let (one, two) = tokio::join!(node.append(&one), node.append(&two));
        assert_eq!((one.unwrap().seq, two.unwrap().seq), (at, at), "one object for both");
    }
    node.tasks.kill();
    let heir = world.begin(2).await.unwrap();
    let blocks = heir.replay(ONE, 100, &[source(1, 0)]).await.unwrap();
    assert_eq!(blocks, (10..20).map(|at| block(ONE, 1 + at * 10, 10)).collect::<Vec<_>>());
    assert_eq!(heir.replay(TWO, 0, &[source(1, 0)]).await.unwrap().len(), 20);
    assert_eq!(heir.replay(RegionId(3), 0, &[source(1, 0)]).await.unwrap(), vec![]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_waits_for_its_linger_and_a_large_one_does_not() {
    let mut world = World::new(2);
    world.options.cut_bytes = 2000;
    world.options.object_bytes_max = 4000;
    let node = world.begin(1).await.unwrap();
    let start = world.clock.boot();
    let small = (0..9).map(|at| block(ONE, 1 + at, 1)).collect::<Vec<_>>();
    futures::future::join_all(small.iter().map(|block| node.append(block))).await;
    assert_eq!(world.clock.boot().saturating_sub(start), Duration::from_millis(200));
    assert_eq!(world.slots(1, 0).await, vec![0]);

    let start = world.clock.boot();
    let large = (0..5).map(|at| block(ONE, 10 + at * 600, 600)).collect::<Vec<_>>();
    let sizes = large.iter().map(|block| encoded(block).bytes.len()).collect::<Vec<_>>();
    assert!(sizes.iter().all(|bytes| (500..1999).contains(bytes)), "{sizes:?}");
    let positions = futures::future::join_all(large.iter().map(|block| node.append(block))).await;
    let seqs = positions.into_iter().map(|position| position.unwrap().seq).collect::<Vec<_>>();
    assert!(seqs.is_sorted() && seqs[0] == 1 && seqs[4] > 1, "the cap cuts: {seqs:?}");
    assert!(world.clock.boot().saturating_sub(start) <= Duration::from_millis(200));
}

#[tokio::test(start_paused = true)]
async fn an_idle_log_asks_the_store_for_nothing_and_a_batch_costs_one_put() {
    let world = World::new(3);
    let node = world.begin(1).await.unwrap();
    let before = world.store.counts();
    world.clock.sleep(Duration::from_hours(1)).await;
    assert_eq!(spent(before, world.store.counts()), (0, 0, 0, 0));
    node.append(&block(ONE, 1, 1)).await.unwrap();
    assert_eq!(spent(before, world.store.counts()), (1, 0, 0, 0));
    for at in 0..50 {
        node.append(&block(ONE, 2 + at, 1)).await.unwrap();
    }
    assert_eq!(spent(before, world.store.counts()), (51, 0, 0, 0));
    let before = world.store.counts();
    node.wal.trim(ONE, Sequence(51)).await.unwrap();
    assert_eq!(spent(before, world.store.counts()), (0, 0, 0, 50), "all but the newest");
    world.clock.sleep(Duration::from_hours(1)).await;
    node.wal.trim(ONE, Sequence(51)).await.unwrap();
    assert_eq!(spent(before, world.store.counts()), (0, 0, 0, 50));
}

#[tokio::test(start_paused = true)]
async fn lost_replies_late_effects_and_conflicts_are_no_second_object() {
    for fate in [Fate::ErrorBefore, Fate::ErrorAfter, Fate::Late, Fate::Conflict] {
        let world = World::new(4);
        world.store.set_rates(FaultRates { late_max: Duration::from_secs(9), ..FaultRates::default() });
        let node = world.begin(1).await.unwrap();
        world.store.script([fate, fate, Fate::Fine, fate]);
        for at in 0..4 {
            assert_eq!(node.append(&block(ONE, 1 + at, 1)).await.unwrap().seq, at, "{fate:?}");
        }
        world.clock.sleep(Duration::from_secs(20)).await;
        assert_eq!(world.slots(1, 0).await, vec![0, 1, 2, 3], "{fate:?}");
        assert_eq!(node.fenced(), 0);
        let heir = world.begin(2).await.unwrap();
        let blocks = heir.replay(ONE, 0, &[source(1, 0)]).await.unwrap();
        assert_eq!(blocks, (0..4).map(|at| block(ONE, 1 + at, 1)).collect::<Vec<_>>(), "{fate:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_off_lane_keeps_one_body_for_its_slot_and_confirms_when_the_store_is_back() {
    let world = World::new(5);
    let node = world.begin(1).await.unwrap();
    node.append(&block(ONE, 1, 1)).await.unwrap();
    world.store.set_rates(FaultRates { error_before: 1000, ..FaultRates::default() });
    let mut first = node.wal.append(encoded(&block(ONE, 2, 1))).await.unwrap();
    world.clock.sleep(Duration::from_secs(1)).await;
    let mut second = node.wal.append(encoded(&block(ONE, 3, 1))).await.unwrap();
    world.clock.sleep(Duration::from_mins(5)).await;
    assert!(futures::poll!(Box::pin(first.durable())).is_pending());
    world.store.set_rates(FaultRates::default());
    assert_eq!(first.durable().await.unwrap().seq, 1);
    assert_eq!(second.durable().await.unwrap().seq, 2);
}

#[tokio::test(start_paused = true)]
async fn too_many_waiting_bytes_are_refused_at_once_and_given_back() {
    let mut world = World::new(6);
    world.options.buffered_bytes_max = 2000;
    let node = world.begin(1).await.unwrap();
    world.store.set_rates(FaultRates { error_before: 1000, ..FaultRates::default() });
    let mut waiting = Vec::new();
    let error = loop {
        match node.wal.append(encoded(&block(ONE, 1 + waiting.len() as u64, 1))).await {
            Ok(pending) => waiting.push(pending),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(waiting.len() > 2 && error.to_string().contains("write-ahead log"), "{error}");
    world.store.set_rates(FaultRates::default());
    for pending in &mut waiting {
        pending.durable().await.unwrap();
    }
    assert_eq!(node.wal.shared.memory.bytes(), 0);
    node.append(&block(ONE, 1 + waiting.len() as u64, 1)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_object_goes_when_all_its_regions_are_flushed_and_nothing_older_is_needed() {
    let world = World::new(7);
    let node = world.begin(1).await.unwrap();
    let blocks = [block(ONE, 1, 5), block(TWO, 1, 5), block(ONE, 6, 5), block(TWO, 6, 5), block(ONE, 11, 5)];
    node.objects(&blocks).await;
    node.wal.trim(ONE, Sequence(10)).await.unwrap();
    assert_eq!(world.slots(1, 0).await, vec![1, 2, 3, 4], "two's first block holds what is behind it");
    assert_eq!(node.wal.status().regions, vec![TWO, ONE]);
    node.wal.trim(TWO, Sequence(10)).await.unwrap();
    node.wal.trim(ONE, Sequence(15)).await.unwrap();
    assert_eq!(world.slots(1, 0).await, vec![4], "the newest stays");
    assert_eq!(node.wal.status().regions, vec![]);
    assert_eq!(node.wal.sources(ONE, Sequence(15), &[]), vec![source(1, 5)]);
    assert_eq!(node.wal.sources(ONE, Sequence(12), &[]), vec![source(1, 4)]);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_could_not_be_deleted_goes_with_the_next_trim() {
    let world = World::new(8);
    let node = world.begin(1).await.unwrap();
    node.objects(&[block(ONE, 1, 1), block(ONE, 2, 1), block(ONE, 3, 1)]).await;
    world.store.set_rates(FaultRates { error_before: 1000, ..FaultRates::default() });
    node.wal.trim(ONE, Sequence(2)).await.unwrap();
    assert_eq!(world.slots(1, 0).await, vec![0, 1, 2]);
    world.store.set_rates(FaultRates::default());
    node.wal.trim(TWO, Sequence(2)).await.unwrap();
    assert_eq!(world.slots(1, 0).await, vec![2]);
}

#[tokio::test(start_paused = true)]
async fn blocks_that_pack_well_are_packed_and_come_back() {
    let world = World::new(9);
    let node = world.begin(1).await.unwrap();
    let wide = wide();
    let raw = encoded(&wide).bytes.len();
    node.append(&wide).await.unwrap();
    let object = world.bytes(1, 0).await;
    assert!(object.len() < raw / 2, "{} of {raw} bytes", object.len());
    let heir = world.begin(2).await.unwrap();
    assert_eq!(heir.replay(ONE, 0, &[source(1, 0)]).await.unwrap(), vec![wide]);
}

#[tokio::test(start_paused = true)]
async fn a_graceful_end_confirms_what_waits_and_seals_all_declared_lanes() {
    let mut world = World::new(10);
    world.options.lanes = 3;
    let node = world.begin(1).await.unwrap();
    node.append(&block(ONE, 1, 1)).await.unwrap();
    let mut pending = node.wal.append(encoded(&block(ONE, 2, 1))).await.unwrap();
    let start = world.clock.boot();
    node.wal.seal().await.unwrap();
    assert_eq!(world.clock.boot(), start, "no linger at the end");
    assert_eq!(pending.durable().await.unwrap().seq, 1);
    let slots = [world.slots(1, 0).await, world.slots(1, 1).await, world.slots(1, 2).await, world.slots(1, 3).await];
    assert_eq!(slots, [vec![0, 1, 2], vec![0], vec![0], vec![]]);
    let refused = node.wal.append(encoded(&block(ONE, 3, 1))).await.unwrap_err();
    assert_eq!((refused.kind(), node.fenced()), (ErrorKind::Unavailable, 0));
    node.wal.seal().await.unwrap();
    let puts = world.store.counts().put;
    world.seal(1).await.unwrap();
    assert_eq!(world.store.counts().put, puts, "a SEAL that is there counts");
}

#[tokio::test(start_paused = true)]
async fn a_seal_that_the_store_does_not_answer_ends_with_an_error() {
    let world = World::new(11);
    let node = world.begin(1).await.unwrap();
    world.store.set_rates(FaultRates { error_before: 1000, ..FaultRates::default() });
    assert_eq!(node.wal.seal().await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_used_epoch_is_refused_with_the_highest_of_the_bucket() {
    let world = World::new(12);
    world.begin(3).await.unwrap();
    world.begin(700).await.unwrap();
    let error = world.begin(3).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    let used = session::EpochUsed::of(&error).unwrap();
    assert_eq!(used, session::EpochUsed { session: NodeEpoch(3), highest: NodeEpoch(700) });
    world.seal(900).await.unwrap();
    assert!(world.begin(900).await.is_err(), "it was ended before it began");
    assert_eq!(session::highest(&world.store, &world.clock).await.unwrap(), NodeEpoch(900));
    let sessions = session::all(&world.store, &world.clock).await.unwrap();
    assert_eq!(session::cluster_of(&world.store, &world.clock, &sessions).await.unwrap(), Some(CLUSTER));
}

#[tokio::test(start_paused = true)]
async fn a_region_opened_again_in_its_session_replays_from_the_own_lane() {
    let world = World::new(13);
    let node = world.begin(1).await.unwrap();
    let blocks = [block(ONE, 1, 5), block(ONE, 6, 5), block(ONE, 11, 5)];
    node.objects(&blocks).await;
    let own = node.wal.sources(ONE, Sequence(5), &[]);
    assert_eq!(own, vec![source(1, 1)]);
    assert_eq!(node.replay(ONE, 5, &own).await.unwrap(), blocks[1..]);
}

/// A block that packs well.
fn wide() -> Block {
    let mut wide = block(ONE, 1, 1);
    for number in 0..500 {
        wide.new_series.push_with(|bytes| {
            varve_model::series::encode_key(&mut [(b"host", format!("a host named {number:06}").as_bytes())], bytes);
        });
    }
    wide
}

#[test]
fn a_packed_object_stays_readable() {
    // Not written anew and compared: another zstd may pack otherwise, and must read this.
    let bytes = crate::format::fixture::load("wal-object", "packed");
    let (_, entries) = crate::format::object::decode(&bytes).unwrap();
    let stored = &bytes[entries[0].offset as usize..][..entries[0].len as usize];
    assert_eq!(body::decode(stored, &entries[0]).unwrap(), wide());
}

proptest::proptest! {
    #[test]
    fn hostile_stored_blocks_never_panic(mut bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let entry = body::encode(&header(), &[encoded(&block(ONE, 1, 3)).bytes]).unwrap().entries[0];
        let _ = body::decode(&bytes, &entry);
        bytes.splice(0..0, [0x28, 0xb5, 0x2f, 0xfd]);
        let _ = body::decode(&bytes, &entry);
    }
}

fn header() -> crate::format::object::ObjectHeader {
    crate::format::object::ObjectHeader {
        kind: crate::format::object::ObjectKind::Data,
        session: NodeEpoch(1),
        lane: 0,
        seq: 0,
        nonce: varve_model::id::Nonce(7),
        previous: 0,
    }
}
