//! The engine with its log in the bucket: sessions end each other, and no row is lost or doubled between them.

use std::sync::atomic::{AtomicU32, Ordering as Memory};

use varve_model::limits::WAL_ACK_TIMEOUT;

use super::*;
use crate::gc::session::Deleted;
use crate::store::fault::{FaultRates, FaultStore};
use crate::wal::object::session::EpochUsed;
use crate::wal::object::{ObjectOptions, OnFenced};

/// A bucket with any number of nodes.
struct Cluster {
    bucket: FaultStore,
    clock: SharedClock,
    machine: Machine,
    fenced: Arc<AtomicU32>,
}

impl Cluster {
    fn new(seed: u64) -> Self {
        let clock: SharedClock = Arc::new(ManualClock::new(seed, WALL));
        let mut machine = Machine::new();
        machine.mode = MergeMode::Append;
        let bucket = FaultStore::new(Arc::new(InMemory::new()), Arc::clone(&clock), TaskSet::new(Blocking::Inline));
        Self { bucket, clock, machine, fenced: Arc::default() }
    }

    fn setup(&self) -> (EngineSetup, TaskSet) {
        let tasks = TaskSet::new(Blocking::Inline);
        let told = Arc::clone(&self.fenced);
        let on_fenced = OnFenced(Arc::new(move |_| {
            told.fetch_add(1, Memory::Relaxed);
        }));
        let object = ObjectOptions { on_fenced, lanes: 2, ..ObjectOptions::default() };
        let setup = EngineSetup {
            store: Arc::new(self.bucket.clone()),
            log: Log::Object,
            clock: Arc::clone(&self.clock),
            tasks: tasks.clone(),
            memory: Account::root("engine", 64 << 20),
            options: EngineOptions { object, ..self.machine.options.clone() },
        };
        (setup, tasks)
    }

    async fn boot(&self, session: u64) -> Result<(Engine, TaskSet)> {
        let (setup, tasks) = self.setup();
        Ok((Engine::prepare(setup).await?.start(CLUSTER, NodeEpoch(session)).await?, tasks))
    }

    /// Opens the region when the owners before it have ended, on metasrv's order.
    async fn open(&self, engine: &Engine, epoch: u64) -> Result<Arc<Region>> {
        let head = crate::manifest::read_head(&engine.inner.context(REGION, RegionEpoch(0))).await?;
        for source in head.iter().flat_map(|head| &head.sources).filter(|source| source.session != engine.epoch()) {
            engine.seal_session(source.session).await?;
        }
        let region = engine.open(REGION, RegionEpoch(epoch), self.machine.table(), Ttl::Forever).await?;
        region.permit(Permit { epoch: RegionEpoch(epoch), valid_until: Duration::MAX });
        Ok(region)
    }

    /// A session that owns the region under the epoch of its own number.
    async fn start(&self, session: u64) -> Process {
        let (engine, tasks) = self.boot(session).await.unwrap();
        let region = self.open(&engine, session).await.unwrap();
        Process { engine, region, tasks }
    }

    async fn log_objects(&self, session: u64) -> usize {
        let folder = crate::store::path::wal_lane(NodeEpoch(session), 0);
        self.bucket.list(Some(&folder)).count().await
    }

    async fn sources(&self, process: &Process) -> Vec<u64> {
        let head = crate::manifest::read_head(&process.engine.inner.context(REGION, RegionEpoch(0))).await;
        head.unwrap().unwrap().sources.iter().map(|source| source.session.0).collect()
    }
}

fn row(value: i64) -> [(&'static str, i64, i64); 1] {
    [("a", NOW + value, value)]
}

#[tokio::test(start_paused = true)]
async fn a_region_moves_from_a_killed_session_to_the_next_without_loss() {
    let cluster = Cluster::new(1);
    let mut expected = Vec::new();
    for session in 1..=5 {
        let process = cluster.start(session).await;
        assert_eq!(process.rows().await, expected, "session {session}");
        for value in 0..6 {
            let value = session as i64 * 100 + value;
            process.write(&row(value)).await.unwrap();
            expected.extend(owned(&row(value)));
            if session % 2 == 0 && value % 10 == 3 {
                process.region.flush().await.unwrap();
            }
        }
        process.tasks.kill();
    }
    assert_eq!(cluster.start(6).await.rows().await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_zombie_is_refused_everywhere_while_its_heir_serves() {
    let cluster = Cluster::new(2);
    let zombie = cluster.start(1).await;
    zombie.write(&row(1)).await.unwrap();
    zombie.region.flush().await.unwrap();
    zombie.write(&row(2)).await.unwrap();
    let heir = cluster.start(2).await;
    assert_eq!(heir.rows().await, owned(&[("a", NOW + 1, 1), ("a", NOW + 2, 2)]));

    assert_eq!(zombie.write(&row(3)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!((cluster.fenced.load(Memory::Relaxed), zombie.engine.is_fenced()), (1, true));
    assert!(zombie.region.is_fenced());
    assert_eq!(zombie.write(&row(4)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(zombie.region.flush().await.unwrap_err().kind(), ErrorKind::Fenced);
    let opened = zombie.engine.open(REGION, RegionEpoch(9), cluster.machine.table(), Ttl::Forever).await;
    assert_eq!(opened.unwrap_err().kind(), ErrorKind::Fenced);
    let spec = varve_model::scan::DescribeSpec::Statistics;
    assert_eq!(zombie.region.describe(RegionEpoch(1), &spec).unwrap_err().kind(), ErrorKind::Unavailable);

    heir.write(&row(5)).await.unwrap();
    let expected = owned(&[("a", NOW + 1, 1), ("a", NOW + 2, 2), ("a", NOW + 5, 5)]);
    assert_eq!(heir.rows().await, expected);
    heir.tasks.kill();
    assert_eq!(cluster.start(3).await.rows().await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_store_is_away_is_unknown_after_ten_seconds_and_appears_once() {
    let cluster = Cluster::new(3);
    let process = cluster.start(1).await;
    process.write_token(&row(1), 1).await.unwrap();
    cluster.bucket.set_rates(FaultRates { error_before: 1000, ..FaultRates::default() });
    let start = cluster.clock.boot();
    assert_eq!(process.write_token(&row(2), 2).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(cluster.clock.boot().saturating_sub(start), WAL_ACK_TIMEOUT);
    cluster.clock.sleep(Duration::from_mins(1)).await;
    cluster.bucket.set_rates(FaultRates::default());
    // The retry waits for the first attempt's rows and adds none.
    process.write_token(&row(2), 2).await.unwrap();
    let expected = owned(&[("a", NOW + 1, 1), ("a", NOW + 2, 2)]);
    assert_eq!(process.rows().await, expected);
    process.tasks.kill();
    assert_eq!(cluster.start(2).await.rows().await, expected);
}

#[tokio::test(start_paused = true)]
async fn earlier_sessions_leave_the_manifest_and_then_their_data_goes() {
    let cluster = Cluster::new(4);
    let process = cluster.start(1).await;
    for value in 0..3 {
        process.write(&row(value)).await.unwrap();
    }
    process.tasks.kill();
    let heir = cluster.start(2).await;
    assert_eq!(cluster.sources(&heir).await, vec![1, 2]);
    assert_eq!(heir.engine.delete_dead_session(NodeEpoch(1)).await.unwrap(), Deleted { objects: 0, left: 3 });
    heir.region.flush().await.unwrap();
    assert_eq!(cluster.sources(&heir).await, vec![2]);
    assert_eq!(heir.engine.delete_dead_session(NodeEpoch(1)).await.unwrap(), Deleted { objects: 3, left: 0 });
    assert_eq!(heir.engine.delete_dead_session(NodeEpoch(1)).await.unwrap(), Deleted::default());
    assert_eq!(cluster.log_objects(1).await, 1, "the SEAL stays");
    heir.tasks.kill();

    // Nothing was written by session 2: the background lets go of it.
    let idle = cluster.start(3).await;
    assert_eq!(cluster.sources(&idle).await, vec![2, 3]);
    cluster.clock.sleep(Duration::from_secs(2)).await;
    assert_eq!(cluster.sources(&idle).await, vec![3]);
    assert_eq!(idle.rows().await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_dead_session_keeps_what_a_region_needs_and_gives_up_what_is_dropped() {
    let cluster = Cluster::new(5);
    let process = cluster.start(1).await;
    process.write(&row(1)).await.unwrap();
    let other = RegionId(REGION.0 + 1);
    let second = process.engine.open(other, RegionEpoch(1), cluster.machine.table(), Ttl::Forever).await.unwrap();
    second.permit(Permit { epoch: RegionEpoch(1), valid_until: Duration::MAX });
    let mut rows = batch(RegionEpoch(1), &row(7), vec![]);
    rows.region = other;
    second.write(rows).await.unwrap();
    let heir = cluster.boot(2).await.unwrap().0;
    assert_eq!(heir.delete_dead_session(NodeEpoch(1)).await.unwrap_err().kind(), ErrorKind::Unavailable, "not sealed");
    heir.seal_session(NodeEpoch(1)).await.unwrap();
    heir.seal_session(NodeEpoch(1)).await.unwrap();
    let region = cluster.open(&heir, 2).await.unwrap();
    region.flush().await.unwrap();
    assert_eq!(heir.delete_dead_session(NodeEpoch(1)).await.unwrap(), Deleted { objects: 1, left: 1 });
    heir.open(other, RegionEpoch(2), cluster.machine.table(), Ttl::Forever).await.unwrap();
    heir.drop_region(other).await.unwrap();
    assert_eq!(heir.delete_dead_session(NodeEpoch(1)).await.unwrap(), Deleted { objects: 1, left: 0 });
    for refused in [
        heir.seal_session(NodeEpoch(2)).await.map(|()| Deleted::default()),
        heir.delete_dead_session(NodeEpoch(2)).await,
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidRequest);
    }
}

#[tokio::test(start_paused = true)]
async fn the_bucket_knows_which_epochs_were_used_and_whose_it_is() {
    let cluster = Cluster::new(6);
    let process = cluster.start(40).await;
    process.engine.stop().await.unwrap();
    let error = cluster.boot(40).await.unwrap_err();
    assert_eq!(EpochUsed::of(&error).map(|used| used.highest), Some(NodeEpoch(40)));
    let (setup, _tasks) = cluster.setup();
    let prepared = Engine::prepare(setup).await.unwrap();
    assert_eq!((prepared.seen_epoch(), prepared.cluster(), prepared.volume()), (NodeEpoch(40), Some(CLUSTER), None));
    let error = prepared.start(ClusterId(1), NodeEpoch(41)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
}

#[tokio::test(start_paused = true)]
async fn after_a_graceful_stop_the_next_owner_seals_nothing() {
    let cluster = Cluster::new(7);
    let process = cluster.start(1).await;
    process.write(&row(1)).await.unwrap();
    process.engine.stop().await.unwrap();
    process.tasks.stop().await;
    let (engine, _tasks) = cluster.boot(2).await.unwrap();
    let before = cluster.bucket.counts().put;
    let region = cluster.open(&engine, 2).await.unwrap();
    assert_eq!(cluster.bucket.counts().put - before, 1, "the claim");
    assert_eq!(region.statistics().memtable_rows, 1);
}

#[tokio::test(start_paused = true)]
async fn a_stop_without_a_store_ends_and_loses_nothing_that_was_confirmed() {
    let cluster = Cluster::new(8);
    let process = cluster.start(1).await;
    process.write(&row(1)).await.unwrap();
    cluster.bucket.set_rates(FaultRates { error_before: 1000, ..FaultRates::default() });
    assert_eq!(process.write(&row(2)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(process.engine.stop().await.unwrap_err().kind(), ErrorKind::Unavailable);
    process.tasks.stop().await;
    cluster.bucket.set_rates(FaultRates::default());
    assert_eq!(cluster.start(2).await.rows().await, owned(&row(1)));
}

#[tokio::test(start_paused = true)]
async fn random_lives_on_a_faulty_bucket_lose_and_double_nothing() {
    for seed in 0..10 {
        let cluster = Cluster::new(1000 + seed);
        let mut acked = std::collections::BTreeSet::new();
        let mut tried = 0i64;
        for session in 1..=4u64 {
            let process = cluster.start(session).await;
            let draw = |max: u32| (cluster.clock.random() % u128::from(max)) as u32;
            cluster.bucket.set_rates(FaultRates {
                error_before: draw(150),
                error_after: draw(150),
                late_effect: draw(100),
                conflict: draw(60),
                latency_max: Duration::from_millis(u64::from(1 + draw(300))),
                late_max: Duration::from_secs(u64::from(1 + draw(40))),
            });
            for _ in 0..12 {
                tried += 1;
                if process.write(&row(tried)).await.is_ok() {
                    acked.insert(tried);
                }
                if draw(4) == 0 {
                    let _ = process.region.flush().await;
                }
            }
            cluster.bucket.set_rates(FaultRates::default());
            match session % 3 {
                0 => process.engine.stop().await.unwrap(),
                1 => process.tasks.kill(),
                // A zombie: nobody tells it.
                _ => {}
            }
        }
        cluster.clock.sleep(Duration::from_mins(2)).await;
        let process = cluster.start(9).await;
        let rows = process.rows().await.into_iter().map(|(_, _, value)| value).collect::<Vec<_>>();
        let distinct = rows.iter().copied().collect::<std::collections::BTreeSet<_>>();
        assert_eq!(rows.len(), distinct.len(), "seed {seed}: doubled");
        assert!(acked.is_subset(&distinct), "seed {seed}: lost {:?}", acked.difference(&distinct));
    }
}

#[cfg(feature = "failpoints")]
#[tokio::test(start_paused = true)]
async fn a_kill_at_any_point_of_log_and_sealing_loses_nothing() {
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeSet;
    use std::rc::Rc;

    use crate::fault::failpoint::{OBJECT_LOG, set_hook};

    let passed = Rc::new(RefCell::new(BTreeSet::new()));
    for (number, point) in OBJECT_LOG.iter().enumerate() {
        for nth in 1..4 {
            let cluster = Cluster::new((number * 10 + nth) as u64);
            let mut acked = Vec::new();
            for session in 1..4u64 {
                let (engine, tasks) = cluster.boot(session).await.unwrap();
                let (left, killed, note) = (Cell::new(nth), tasks.clone(), Rc::clone(&passed));
                let name = *point;
                set_hook(Some(Rc::new(move |at| {
                    note.borrow_mut().insert(at);
                    if at == name {
                        left.set(left.get().saturating_sub(1));
                        if left.get() == 0 {
                            killed.kill();
                        }
                    }
                })));
                let life = async {
                    let region = cluster.open(&engine, session).await?;
                    let process = Process { engine: engine.clone(), region, tasks: tasks.clone() };
                    for value in 0..6 {
                        let value = session as i64 * 10 + value;
                        process.write(&row(value)).await?;
                        acked.push(value);
                        if value % 10 == 2 {
                            process.region.flush().await?;
                        }
                    }
                    Ok::<_, Error>(())
                };
                let _ = life.await;
                set_hook(None);
                tasks.kill();
            }
            let rows = cluster.start(9).await.rows().await;
            let values = rows.iter().map(|row| row.2).collect::<BTreeSet<_>>();
            assert_eq!(values.len(), rows.len(), "{point} {nth}: doubled");
            assert!(acked.iter().all(|value| values.contains(value)), "{point} {nth}: lost");
        }
    }
    for point in OBJECT_LOG {
        assert!(passed.borrow().contains(point), "{point} is never passed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flush_and_a_merge_end_while_rows_keep_coming() {
    let cluster = Cluster::new(9);
    let process = cluster.start(1).await;
    process.write(&row(0)).await.unwrap();
    // A file takes several requests and a write one, so that rows are there again after every file.
    cluster.bucket.set_rates(FaultRates { latency_max: Duration::from_millis(400), ..FaultRates::default() });
    let work = async {
        process.region.flush().await.unwrap();
        let files = process.region.statistics().files;
        process.region.compact_all().await.unwrap();
        files
    };
    let writes = async {
        for value in 1..300 {
            process.write(&row(value)).await.unwrap();
        }
    };
    let files = tokio::select! {
        files = work => files,
        () = writes => panic!("300 writes came before it ended"),
    };
    assert!(files <= 2, "{files} files of one flush");
}
