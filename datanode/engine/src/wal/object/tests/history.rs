//! Random lives of one region on faulty buckets: sessions write, flush, are killed or go on as zombies, and heirs
//! replay. Whatever happens, a confirmed row is found once, and a refused one never.

use proptest::prelude::*;

use super::*;
use crate::format::block::BlockBody;

/// One step of a life.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Appends so many blocks at once and waits for them.
    Append(u8),
    /// Appends and does not wait.
    Send,
    /// Brings into files what is confirmed, then trims.
    Flush,
    /// The owner dies; a new session takes over.
    Kill,
    /// A new session takes over and the old one lives on, and writes.
    Zombie,
    /// The owner ends gracefully; a new session takes over.
    Stop,
    /// The store has a bad time for so many seconds.
    Faults(u8),
    /// The store takes one more object, loses the reply, and is away for longer than a create waits.
    Outage,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u8..6).prop_map(Step::Append),
        2 => Just(Step::Send),
        3 => Just(Step::Flush),
        2 => Just(Step::Kill),
        2 => Just(Step::Zombie),
        1 => Just(Step::Stop),
        2 => (1u8..30).prop_map(Step::Faults),
        1 => Just(Step::Outage),
    ]
}

/// What a manifest would say, and what clients were told.
struct Life {
    world: World,
    node: Node,
    zombies: Vec<(Node, u64)>,
    session: u64,
    sources: Vec<Source>,
    flushed_to: u64,
    /// The last sequence the owner confirmed or replayed.
    durable: u64,
    next: u64,
    /// Sequences confirmed to somebody; none may be lost.
    acked: u64,
    /// (sequence, time of the row) that were definitely refused; none may appear.
    refused: Vec<(u64, i64)>,
    /// Rows by sequence as the log must have them, by the time that is unique to each attempt.
    rows: BTreeMap<u64, i64>,
    attempt: i64,
    violation: Option<String>,
}

/// A block of one row whose timestamp is unique to the attempt.
fn attempt(sequence: u64, ts: i64) -> Block {
    Block { body: BlockBody::Rows { series: vec![0], ts: vec![ts], fields: vec![] }, ..block(ONE, sequence, 1) }
}

fn ts_of(block: &Block) -> i64 {
    let TimeRange { start, .. } = block.time_range();
    start
}

impl Life {
    async fn new(seed: u64) -> Self {
        let world = World::new(seed);
        let node = world.begin(1).await.unwrap();
        let sources = node.wal.sources(ONE, Sequence(0), &[]);
        Self {
            world,
            node,
            zombies: Vec::new(),
            session: 1,
            sources,
            flushed_to: 0,
            durable: 0,
            next: 1,
            acked: 0,
            refused: Vec::new(),
            rows: BTreeMap::new(),
            attempt: 0,
            violation: None,
        }
    }

    fn violated(&mut self, why: String) {
        self.violation.get_or_insert(why);
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Append(count) => self.append(count).await,
            Step::Send => {
                let _ = self.send().await;
                // Not waited for: its outcome is never known to anybody, so no later block may be told apart from it.
                self.settle().await;
            }
            Step::Flush => self.flush().await,
            Step::Kill => {
                self.node.tasks.kill();
                self.take_over(false).await;
            }
            Step::Zombie => self.take_over(true).await,
            Step::Stop => {
                let _ = self.node.wal.seal().await;
                self.node.tasks.kill();
                self.take_over(false).await;
            }
            Step::Faults(seconds) => self.faults(seconds).await,
            Step::Outage => {
                self.world.store.script([Fate::ErrorAfter]);
                self.world.store.set_rates(FaultRates { error_before: 1000, ..FaultRates::default() });
                let healing = self.world.clock.sleep(Duration::from_secs(50));
                tokio::join!(healing, self.append(2));
                self.world.store.set_rates(FaultRates::default());
            }
        }
        self.zombies_write().await;
    }

    async fn send(&mut self) -> Result<(u64, i64, Pending)> {
        self.attempt += 1;
        let (sequence, ts) = (self.next, self.attempt);
        match self.node.wal.append(encoded(&attempt(sequence, ts))).await {
            Ok(pending) => {
                self.next += 1;
                Ok((sequence, ts, pending))
            }
            Err(error) => {
                self.refused.push((sequence, ts));
                Err(error)
            }
        }
    }

    async fn append(&mut self, count: u8) {
        let mut sent = Vec::new();
        for _ in 0..count {
            if let Ok(one) = self.send().await {
                sent.push(one);
            }
        }
        for (sequence, ts, mut pending) in sent {
            let outcome = tokio::select! {
                outcome = pending.durable() => outcome,
                () = self.world.clock.sleep(Duration::from_mins(2)) => Err(Error::unavailable("waited too long")),
            };
            match outcome {
                Ok(_) => {
                    self.acked = self.acked.max(sequence);
                    self.durable = self.durable.max(sequence);
                    if let Some(other) = self.rows.insert(sequence, ts).filter(|other| *other != ts) {
                        self.violated(format!("sequence {sequence} was confirmed for {other} and {ts}"));
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::Busy | ErrorKind::Fenced) => {
                    self.refused.push((sequence, ts));
                    self.next = self.next.min(sequence);
                }
                Err(_) => {}
            }
        }
    }

    /// Waits until the lane has nothing in flight, as a region does before its writer goes on.
    async fn settle(&mut self) {
        self.append(1).await;
    }

    async fn flush(&mut self) {
        self.flushed_to = self.durable;
        self.sources = self.node.wal.sources(ONE, Sequence(self.flushed_to), &self.sources);
        self.node.wal.trim(ONE, Sequence(self.flushed_to)).await.unwrap();
    }

    async fn take_over(&mut self, zombie_lives: bool) {
        self.session += 1;
        self.world.store.set_rates(FaultRates::default());
        let heir = self.world.begin(self.session).await.unwrap();
        heir.succeed(&self.sources).await.unwrap();
        self.sources = heir.wal.sources(ONE, Sequence(self.flushed_to), &self.sources);
        let old = std::mem::replace(&mut self.node, heir);
        if zombie_lives {
            self.zombies.push((old, self.next));
        }
        let replayed = self.node.wal.replay(ONE, Sequence(self.flushed_to), &self.sources);
        match replayed.try_collect::<Vec<_>>().await {
            Ok(blocks) => self.replayed(&blocks),
            Err(error) => self.violated(format!("replay: {error}")),
        }
    }

    fn replayed(&mut self, blocks: &[Block]) {
        let mut last = self.flushed_to;
        for block in blocks {
            let (sequence, ts) = (block.first_seq.0, ts_of(block));
            if sequence != last + 1 {
                self.violated(format!("row {sequence} follows row {last}"));
            }
            if self.refused.contains(&(sequence, ts)) {
                self.violated(format!("row {sequence} was definitely refused"));
            }
            if let Some(known) = self.rows.insert(sequence, ts).filter(|known| *known != ts) {
                self.violated(format!("row {sequence} is {ts}, not {known}"));
            }
            last = sequence;
        }
        if last < self.acked {
            self.violated(format!("rows up to {} were confirmed, replay ends with {last}", self.acked));
        }
        self.durable = last;
        self.next = last + 1;
    }

    async fn faults(&mut self, seconds: u8) {
        let draw = |max: u32| (self.world.clock.random() % u128::from(max)) as u32;
        self.world.store.set_rates(FaultRates {
            error_before: draw(400),
            error_after: draw(250),
            late_effect: draw(200),
            conflict: draw(100),
            latency_max: Duration::from_millis(u64::from(draw(400))),
            late_max: Duration::from_secs(1 + u64::from(draw(60))),
        });
        let healing = self.world.clock.sleep(Duration::from_secs(u64::from(seconds)));
        tokio::join!(healing, self.append(3));
        self.world.store.set_rates(FaultRates::default());
    }

    /// Sessions that lost the region do not know it and go on; nothing of theirs may be confirmed above a SEAL.
    async fn zombies_write(&mut self) {
        for (zombie, next) in std::mem::take(&mut self.zombies) {
            self.attempt += 1;
            let block = attempt(next, self.attempt);
            if let Ok(position) = zombie.append(&block).await {
                self.violated(format!("a zombie got row {next} confirmed at {position:?}"));
            }
            zombie.tasks.kill();
        }
    }
}

/// What went wrong in a life, if anything did.
fn live(seed: u64, steps: &[Step]) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut life = Life::new(seed).await;
        life.world.options.cut_bytes = 600;
        life.world.options.object_bytes_max = 900;
        for step in steps {
            life.step(*step).await;
        }
        life.step(Step::Kill).await;
        // Late effects land, and the last heir still finds the same.
        life.world.clock.sleep(Duration::from_mins(2)).await;
        life.step(Step::Kill).await;
        life.violation
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn nothing_confirmed_is_lost_and_nothing_refused_appears(
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..25),
    ) {
        prop_assert_eq!(live(seed, &steps), None);
    }
}

#[cfg(feature = "seeded-bugs")]
#[test]
fn planted_bugs_of_the_lane_are_found() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let histories = prop::collection::vec(step(), 5..25);
    let histories =
        (0..200u64).map(|seed| (seed, histories.new_tree(&mut runner).unwrap().current())).collect::<Vec<_>>();
    let bugs = [Bug::TakenIsSuccess, Bug::AckBeforePut, Bug::TrimOnAck, Bug::SecondBody];
    for bug in bugs {
        crate::fault::bug::set(Some(bug));
        let found = histories.iter().find_map(|(seed, steps)| live(*seed, steps));
        crate::fault::bug::set(None);
        assert!(found.is_some(), "{bug:?}");
    }
}
