//! Sealing, zombies, and reading what a dead session left.

use super::*;
use crate::format::object::{self, ObjectHeader, ObjectKind};
use crate::store::overtaken::Overtaken;

#[tokio::test(start_paused = true)]
async fn a_zombie_meets_the_seal_and_everything_is_refused_from_then_on() {
    let world = World::new(20);
    let zombie = world.begin(1).await.unwrap();
    zombie.append(&block(ONE, 1, 1)).await.unwrap();
    let heir = world.begin(2).await.unwrap();
    assert_eq!(heir.replay(ONE, 0, &[source(1, 0)]).await.unwrap().len(), 1);
    let mut in_flight = zombie.wal.append(encoded(&block(ONE, 2, 1))).await.unwrap();
    world.clock.sleep(Duration::from_millis(200)).await;
    assert_eq!(in_flight.durable().await.unwrap_err().kind(), ErrorKind::Unavailable, "unknown");
    let later = zombie.wal.append(encoded(&block(ONE, 3, 1))).await;
    assert_eq!(later.unwrap_err().kind(), ErrorKind::Fenced, "definitely not written");
    assert_eq!((zombie.fenced(), zombie.wal.is_fenced()), (1, true));
    assert_eq!(zombie.wal.check_sources(&[]).await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(zombie.wal.seal().await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(heir.replay(ONE, 0, &[source(1, 0)]).await.unwrap().len(), 1);
    assert_eq!(world.slots(1, 0).await, vec![0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_asks_learns_of_its_end_and_of_nothing_else() {
    let mut world = World::new(35);
    world.options.lanes = 2;
    let node = world.begin(1).await.unwrap();
    node.wal.check_session().await.unwrap();
    node.objects(&[block(ONE, 1, 1), block(ONE, 2, 1), block(ONE, 3, 1)]).await;
    node.wal.trim(ONE, Sequence(2)).await.unwrap();
    put_seal_of_a_slow_sealer(&world, 1).await;
    node.wal.check_session().await.unwrap();
    assert_eq!(node.fenced(), 0, "a SEAL below the head ends nothing");
    world.store.set_rates(FaultRates { error_before: 1000, ..FaultRates::default() });
    assert_eq!(node.wal.check_session().await.unwrap_err().kind(), ErrorKind::Unavailable);
    world.store.set_rates(FaultRates::default());
    world.seal(1).await.unwrap();
    for _ in 0..2 {
        assert_eq!(node.wal.check_session().await.unwrap_err().kind(), ErrorKind::Fenced);
    }
    assert_eq!((node.fenced(), node.wal.is_fenced()), (1, true));
    assert_eq!(node.append(&block(ONE, 4, 1)).await.unwrap_err().kind(), ErrorKind::Fenced);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_asks_while_its_put_hangs_sees_the_seal_above_it() {
    let world = World::new(36);
    let node = world.begin(1).await.unwrap();
    // Its object lands and no answer comes: the SEAL takes the next slot.
    world.store.set_rates(FaultRates { error_after: 1000, ..FaultRates::default() });
    let mut pending = node.wal.append(encoded(&block(ONE, 1, 1))).await.unwrap();
    world.clock.sleep(Duration::from_secs(1)).await;
    world.store.set_rates(FaultRates { error_before: 1000, ..FaultRates::default() });
    world.clock.sleep(Duration::from_secs(1)).await;
    seal::seal_session(&*world.inner, &world.clock, NodeEpoch(1), NodeEpoch(99)).await.unwrap();
    assert_eq!(world.slots(1, 0).await, vec![0, 1]);
    assert!(seal::find_end(&*world.inner, &world.clock, (NodeEpoch(1), 0), 0).await.unwrap().is_some());
    world.store.set_rates(FaultRates::default());
    pending.durable().await.unwrap();
    assert_eq!(node.wal.check_session().await.unwrap_err().kind(), ErrorKind::Fenced);
}

#[tokio::test(start_paused = true)]
async fn blocks_behind_a_fenced_put_are_definitely_refused() {
    let world = World::new(21);
    let zombie = world.begin(1).await.unwrap();
    world.store.set_rates(FaultRates { error_before: 1000, ..FaultRates::default() });
    let mut in_flight = zombie.wal.append(encoded(&block(ONE, 1, 1))).await.unwrap();
    world.clock.sleep(Duration::from_secs(1)).await;
    let mut behind = zombie.wal.append(encoded(&block(ONE, 2, 1))).await.unwrap();
    world.store.set_rates(FaultRates::default());
    world.seal(1).await.unwrap();
    assert_eq!(in_flight.durable().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(behind.durable().await.unwrap_err().kind(), ErrorKind::Fenced);
}

#[tokio::test(start_paused = true)]
async fn sealing_is_idempotent_covers_declared_lanes_and_forestalls_a_session() {
    let mut world = World::new(22);
    world.options.lanes = 4;
    let node = world.begin(1).await.unwrap();
    node.append(&block(ONE, 1, 1)).await.unwrap();
    let before = world.store.counts();
    world.seal(1).await.unwrap();
    let (puts, _, lists, _) = spent(before, world.store.counts());
    assert_eq!((puts, lists), (4, 8), "per lane: list, create, list again");
    for _ in 0..2 {
        world.seal(1).await.unwrap();
    }
    assert_eq!(world.slots(1, 0).await, vec![0, 1]);
    for lane in 1..4 {
        assert_eq!(world.slots(1, lane).await, vec![0]);
    }
    world.seal(7).await.unwrap();
    world.seal(7).await.unwrap();
    assert!(world.begin(7).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_source_that_never_began_in_this_bucket_is_elsewhere_and_not_empty() {
    let world = World::new(34);
    let node = world.begin(2).await.unwrap();
    world.seal(1).await.unwrap();
    for session in [1, 7] {
        let error = node.wal.check_sources(&[source(session, 0)]).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Unavailable && error.to_string().contains("not in this bucket"), "{error}");
    }
    assert!(session::read(&world.store, &world.clock, NodeEpoch(7)).await.unwrap().is_none(), "nothing was put there");
}

#[tokio::test(start_paused = true)]
async fn a_claimant_ends_nobody_and_names_who_has_not_ended() {
    let mut world = World::new(35);
    world.options.lanes = 2;
    let (alive, leaving) = (world.begin(1).await.unwrap(), world.begin(2).await.unwrap());
    alive.append(&block(ONE, 1, 1)).await.unwrap();
    leaving.wal.seal().await.unwrap();
    let heir = world.begin(3).await.unwrap();
    heir.wal.check_sources(&[source(2, 0)]).await.unwrap();
    let error = heir.wal.check_sources(&[source(2, 0), source(1, 0)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(seal::NotSealed::of(&error.context("open")), Some(seal::NotSealed(NodeEpoch(1))));
    alive.append(&block(ONE, 2, 1)).await.unwrap();
    // One lane of two.
    let body = seal::body(&world.clock, (NodeEpoch(1), 1, 0), NodeEpoch(9));
    world.inner.put(&path::wal_object(NodeEpoch(1), 1, 0), body.into()).await.unwrap();
    heir.wal.check_sources(&[source(1, 0)]).await.unwrap_err();
    world.seal(1).await.unwrap();
    heir.wal.check_sources(&[source(1, 0)]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn racing_sealers_under_faults_agree() {
    for seed in 0..40 {
        let world = World::new(100 + seed);
        let node = world.begin(1).await.unwrap();
        let mut acked = 0;
        world.store.set_rates(FaultRates {
            error_before: 80,
            error_after: 120,
            late_effect: 80,
            conflict: 60,
            latency_max: Duration::from_millis(40),
            late_max: Duration::from_secs(5),
        });
        let writes = async {
            while acked < 200 && node.append(&block(ONE, 1 + acked, 1)).await.is_ok() {
                acked += 1;
            }
        };
        let sealers = async {
            world.clock.sleep(Duration::from_millis(700 + seed * 31)).await;
            // A sealer that gives up is ordered again.
            futures::future::join_all((0..3).map(|_| async { while world.seal(1).await.is_err() {} })).await;
        };
        tokio::join!(writes, sealers);
        world.store.set_rates(FaultRates::default());
        world.clock.sleep(Duration::from_secs(10)).await;
        let heir = world.begin(2).await.unwrap();
        let blocks = heir.replay(ONE, 0, &[source(1, 0)]).await.unwrap();
        let sequences = blocks.iter().map(|block| block.first_seq.0).collect::<Vec<_>>();
        assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>(), "seed {seed}");
        let found = sequences.len() as u64;
        assert!(acked <= found && found <= acked + 1, "seed {seed}: {acked} confirmed, {found} found");
        assert_eq!(node.fenced(), 1, "seed {seed}");
    }
}

/// Seals while the session writes on and trims after so many names of the sealer's first listing: what the session got
/// confirmed in all, and its slots in the end.
async fn overtaken_sealer(after: usize) -> (u64, Vec<u64>) {
    let world = World::new(23);
    let zombie = Arc::new(world.begin(1).await.unwrap());
    zombie.objects(&[block(ONE, 1, 1), block(ONE, 2, 1)]).await;
    let writer = Arc::clone(&zombie);
    let what = async move {
        writer.objects(&[block(ONE, 3, 1), block(ONE, 4, 1)]).await;
        writer.wal.trim(ONE, Sequence(3)).await.unwrap();
    };
    let store = Overtaken::new(Arc::new(world.store.clone()), path::wal_lane(NodeEpoch(1), 0), after, what);
    seal::seal_session(&store, &world.clock, NodeEpoch(1), NodeEpoch(2)).await.unwrap();
    let mut acked = 4;
    while acked < 9 && zombie.append(&block(ONE, 1 + acked, 1)).await.is_ok() {
        acked += 1;
    }
    (acked, world.slots(1, 0).await)
}

/// The SEAL that a sealer which listed long ago puts into a slot that was trimmed meanwhile.
async fn put_seal_of_a_slow_sealer(world: &World, slot: u64) {
    let header = ObjectHeader {
        kind: ObjectKind::Seal { sealer: NodeEpoch(2) },
        session: NodeEpoch(1),
        lane: 0,
        seq: slot,
        nonce: varve_model::id::Nonce(1),
        previous: 0,
    };
    world.overwrite(1, slot, object::encode(&header, &[], &[]).into()).await;
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_is_overtaken_by_trims_does_not_end_the_sealing() {
    assert_eq!(overtaken_sealer(9).await, (4, vec![2, 3, 4]), "the first SEAL met a trimmed slot");
    assert_eq!(overtaken_sealer(1).await, (4, vec![3, 4]), "the rest of a torn listing shows the newest object");
}

#[tokio::test(start_paused = true)]
async fn a_seal_in_a_trimmed_slot_is_not_the_end_of_the_lane() {
    let world = World::new(24);
    let node = world.begin(1).await.unwrap();
    node.objects(&[block(ONE, 1, 1), block(ONE, 2, 1), block(ONE, 3, 1), block(ONE, 4, 1)]).await;
    node.wal.trim(ONE, Sequence(3)).await.unwrap();
    put_seal_of_a_slow_sealer(&world, 2).await;
    world.seal(1).await.unwrap();
    assert_eq!(world.slots(1, 0).await, vec![2, 3, 4]);
    let heir = world.begin(2).await.unwrap();
    assert_eq!(heir.replay(ONE, 3, &[source(1, 0)]).await.unwrap(), vec![block(ONE, 4, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_late_duplicate_of_a_trimmed_object_is_ignored() {
    let world = World::new(25);
    let node = world.begin(1).await.unwrap();
    node.objects(&[block(ONE, 1, 1), block(TWO, 1, 1), block(ONE, 2, 1), block(ONE, 3, 1)]).await;
    let late = world.bytes(1, 0).await;
    node.wal.trim(ONE, Sequence(2)).await.unwrap();
    node.wal.trim(TWO, Sequence(1)).await.unwrap();
    assert_eq!(world.slots(1, 0).await, vec![3]);
    world.overwrite(1, 0, late).await;
    let heir = world.begin(2).await.unwrap();
    assert_eq!(heir.replay(ONE, 2, &[source(1, 0)]).await.unwrap(), vec![block(ONE, 3, 1)]);
    assert_eq!(heir.replay(TWO, 1, &[source(1, 0)]).await.unwrap(), vec![]);
}

/// A session with four objects of two regions: 0 and 2 of one, 1 and 3 of two.
async fn dead_session(seed: u64) -> (World, Node) {
    let world = World::new(seed);
    let node = world.begin(1).await.unwrap();
    node.objects(&[block(ONE, 1, 9), block(TWO, 1, 9), block(ONE, 10, 9), block(TWO, 10, 9)]).await;
    world.seal(1).await.unwrap();
    let heir = world.begin(2).await.unwrap();
    (world, heir)
}

#[tokio::test(start_paused = true)]
async fn a_missing_object_in_the_middle_is_damage_for_those_who_need_what_is_below() {
    let (world, heir) = dead_session(26).await;
    world.delete(1, 1).await;
    let error = heir.replay(ONE, 0, &[source(1, 0)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert_eq!(heir.replay(ONE, 9, &[source(1, 0)]).await.unwrap().len(), 1, "only what lies above is needed");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_or_replaced_object_is_damage_for_those_who_may_need_it() {
    let (world, heir) = dead_session(27).await;
    let mut bytes = world.bytes(1, 1).await.to_vec();
    bytes[90] ^= 1;
    world.overwrite(1, 1, bytes.into()).await;
    assert_eq!(heir.replay(ONE, 0, &[source(1, 0)]).await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(heir.replay(ONE, 9, &[source(1, 2)]).await.unwrap().len(), 1);

    let (world, heir) = dead_session(28).await;
    let other = World::new(29);
    other.begin(1).await.unwrap().objects(&[block(ONE, 1, 9), block(TWO, 1, 8)]).await;
    world.overwrite(1, 1, other.bytes(1, 1).await).await;
    let error = heir.replay(TWO, 0, &[source(1, 0)]).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("follows another"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_region_that_came_back_to_a_session_replays_in_the_order_of_its_rows() {
    let world = World::new(30);
    let (first, second) = (world.begin(5).await.unwrap(), world.begin(3).await.unwrap());
    first.objects(&[block(ONE, 1, 5)]).await;
    second.objects(&[block(ONE, 6, 5)]).await;
    first.objects(&[block(ONE, 11, 5)]).await;
    let heir = world.begin(9).await.unwrap();
    let blocks = heir.replay(ONE, 0, &[source(3, 0), source(5, 0)]).await.unwrap();
    assert_eq!(blocks.iter().map(|block| block.first_seq.0).collect::<Vec<_>>(), vec![1, 6, 11]);
}

#[tokio::test(start_paused = true)]
async fn sources_are_kept_until_they_are_read_and_flushed() {
    let (_world, heir) = dead_session(31).await;
    let head = [source(1, 0)];
    let named = |flushed_to| {
        let sources = heir.wal.sources(ONE, Sequence(flushed_to), &head);
        sources.iter().map(|source| source.session.0).collect::<Vec<_>>()
    };
    assert_eq!(named(99), vec![1, 2], "not read yet: nobody knows what is in it");
    heir.replay(ONE, 0, &head).await.unwrap();
    assert_eq!(named(9), vec![1, 2]);
    assert_eq!(named(18), vec![2]);
    assert_eq!(heir.wal.status().inherited, vec![ONE]);
    heir.wal.trim(ONE, Sequence(18)).await.unwrap();
    assert_eq!(heir.wal.status().inherited, vec![]);
}

#[tokio::test(start_paused = true)]
async fn many_regions_of_a_dead_session_read_it_once() {
    let world = World::new(32);
    let node = world.begin(1).await.unwrap();
    for at in 0..10 {
        let blocks = (0..20).map(|region| block(RegionId(region), 1 + at * 5, 5)).collect::<Vec<_>>();
        futures::future::join_all(blocks.iter().map(|block| node.append(block))).await;
    }
    let heir = world.begin(2).await.unwrap();
    world.seal(1).await.unwrap();
    let before = world.store.counts();
    let sources = [source(1, 0)];
    for region in 0..20 {
        heir.wal.check_sources(&sources).await.unwrap();
        let blocks = heir.wal.replay(RegionId(region), Sequence(0), &sources).try_collect::<Vec<_>>().await;
        assert_eq!(blocks.unwrap().len(), 10);
    }
    let (puts, gets, lists, _) = spent(before, world.store.counts());
    assert_eq!((puts, lists), (0, 2), "one listing to see that it has ended, one to read");
    assert!(gets < 20 + 10 * 20 + 20, "{gets} reads");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_sealed_is_not_read() {
    let world = World::new(33);
    let node = world.begin(1).await.unwrap();
    node.append(&block(ONE, 1, 1)).await.unwrap();
    let heir = world.begin(2).await.unwrap();
    let read = heir.wal.replay(ONE, Sequence(0), &[source(1, 0)]).try_collect::<Vec<_>>().await;
    assert_eq!(read.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[cfg(feature = "seeded-bugs")]
mod planted {
    use super::*;
    use crate::fault::bug::set;

    #[tokio::test(start_paused = true)]
    async fn a_sealing_without_a_second_listing_is_found() {
        set(Some(Bug::NoSealRelist));
        let (acked, _) = overtaken_sealer(9).await;
        set(None);
        assert!(acked > 4, "the zombie goes on");
    }

    /// What a zombie gets confirmed after its idle lane was trimmed and sealed.
    async fn confirmed_after_seal() -> usize {
        let world = World::new(41);
        let zombie = world.begin(1).await.unwrap();
        zombie.objects(&[block(ONE, 1, 1), block(ONE, 2, 1)]).await;
        zombie.wal.trim(ONE, Sequence(2)).await.unwrap();
        world.seal(1).await.unwrap();
        usize::from(zombie.append(&block(ONE, 3, 1)).await.is_ok())
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_that_trims_its_newest_object_is_found() {
        assert_eq!(confirmed_after_seal().await, 0);
        set(Some(Bug::TrimNewestObject));
        let confirmed = confirmed_after_seal().await;
        set(None);
        assert_eq!(confirmed, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_without_a_seal_is_found() {
        let mut world = World::new(40);
        world.options.lanes = 2;
        world.begin(1).await.unwrap();
        set(Some(Bug::SealUsedLanesOnly));
        world.seal(1).await.unwrap();
        set(None);
        let heir = world.begin(2).await.unwrap();
        assert_eq!(heir.wal.check_sources(&[source(1, 0)]).await.unwrap_err().kind(), ErrorKind::Unavailable);
        heir.wal.shared.others.note_sealed(NodeEpoch(1));
        let read = heir.wal.replay(ONE, Sequence(0), &[source(1, 0)]).try_collect::<Vec<_>>().await;
        assert_eq!(read.unwrap_err().kind(), ErrorKind::Unavailable);
    }
}

#[test]
fn a_forestalled_session_matches_its_fixture_and_hostile_bytes_never_panic() {
    use proptest::prelude::*;
    let clock: SharedClock = Arc::new(FixedClock);
    let bytes = seal::body(&clock, (NodeEpoch(5), 0, 0), NodeEpoch(9));
    crate::format::fixture::check("session", "sealed", &bytes);
    assert_eq!(session::SessionSlot::decode(&bytes).unwrap(), session::SessionSlot::Sealed);
    proptest!(|(bytes in prop::collection::vec(any::<u8>(), 0..300))| {
        let _ = session::SessionSlot::decode(&bytes);
    });
}

/// The same nonce every time, outside a runtime.
#[derive(Debug)]
struct FixedClock;

impl varve_service::clock::Clock for FixedClock {
    fn boot(&self) -> Duration {
        Duration::ZERO
    }

    fn wall_nanos(&self) -> i64 {
        0
    }

    fn sleep(&self, _: Duration) -> futures::future::BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    fn random(&self) -> u128 {
        0x42
    }
}
