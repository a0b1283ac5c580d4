//! Elections among members of one store in memory, with the clock in hand.

use varve_model::ErrorKind;
use varve_service::clock::ManualClock;
use varve_service::task::{Blocking, TaskSet};

use super::*;
use crate::kv::fault::KvFaults;
use crate::kv::key::{CounterKey, CounterRecord};
use crate::kv::{Change, FaultKv, MemoryKv};

const LEASE: Duration = Duration::from_secs(5);

struct World {
    clock: SharedClock,
    kv: Arc<MemoryKv>,
    _tasks: TaskSet,
}

fn world() -> World {
    let clock: SharedClock = Arc::new(ManualClock::new(1, 0));
    let tasks = TaskSet::new(Blocking::Inline);
    let kv = MemoryKv::timed(Arc::clone(&clock), &tasks);
    World { clock, kv, _tasks: tasks }
}

impl World {
    fn candidate(&self, name: &str) -> (Candidate, Arc<FaultKv>) {
        let link = Arc::new(FaultKv::new(self.kv.clone(), Arc::clone(&self.clock)));
        let candidate = Candidate {
            kv: link.clone(),
            clock: Arc::clone(&self.clock),
            name: name.to_owned(),
            address: format!("{name}:1"),
            lease: LEASE,
        };
        (candidate, link)
    }
}

fn change() -> Change {
    let mut change = Change::default();
    change.put(&CounterKey::Table, &CounterRecord { next: 1 }).expect("encode");
    change
}

#[tokio::test(start_paused = true)]
async fn one_wins_and_the_others_learn_its_address() {
    let world = world();
    let ((first, _), (second, _)) = (world.candidate("a"), world.candidate("b"));
    let won = first.campaign().await.expect("campaign").expect("nobody leads");
    assert!(second.campaign().await.expect("campaign").is_none());
    let seen = Mutex::new(None);
    let following = second.follow(|leader| *seen.lock() = leader.map(|leader| leader.address));
    tokio::select! {
        _ = following => panic!("somebody leads"),
        () = world.clock.sleep(Duration::from_secs(1)) => {}
    }
    assert_eq!(seen.lock().as_deref(), Some("a:1"));
    won.records.commit(change()).await.expect("commit").expect("leads");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_may_answer_no_longer_before_another_can_win() {
    let world = world();
    let ((first, link), (second, _)) = (world.candidate("a"), world.candidate("b"));
    let old = first.campaign().await.expect("campaign").expect("nobody leads");
    let start = world.clock.boot();
    let successor = async {
        second.follow(drop).await.expect("until the lease is over");
        let won = second.campaign().await.expect("campaign").expect("nobody leads");
        (won, world.clock.boot())
    };
    let cut = async {
        world.clock.sleep(Duration::from_secs(20)).await;
        old.leadership.check(world.clock.boot()).expect("it was renewed all the time");
        link.set(KvFaults { is_cut: true, ..KvFaults::default() });
    };
    let ((won, elected), (), ()) = futures::join!(successor, cut, first.keep(&old));
    let ends = old.leadership.ends().expect("it has a lease");
    assert!(ends <= elected, "the old leader was silent from {ends:?}, the new one elected at {elected:?}");
    assert!(elected > start + Duration::from_secs(20) && elected < start + Duration::from_secs(28), "{elected:?}");
    let error = old.leadership.check(elected).expect_err("over");
    assert_eq!(error.reason(), varve_model::Reason::NotLeader);
    link.set(KvFaults::default());
    let error = old.records.commit(change()).await.expect_err("deposed");
    assert_eq!(error.kind(), ErrorKind::Fenced);
    won.records.commit(change()).await.expect("commit").expect("leads");
}

#[tokio::test(start_paused = true)]
async fn the_lease_counts_from_the_send_and_not_from_the_answer() {
    let world = world();
    let (candidate, link) = world.candidate("a");
    link.set(KvFaults { delay_max: Duration::from_secs(2), ..KvFaults::default() });
    let start = world.clock.boot();
    let won = candidate.campaign().await.expect("campaign").expect("nobody leads");
    assert!(world.clock.boot() > start, "the store took its time");
    won.leadership.check(start + Duration::from_millis(4_999)).expect("valid");
    won.leadership.check(start + LEASE).expect_err("over");
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_key_is_removed_or_whose_lease_ends_notices_within_a_renewal() {
    for by_hand in [true, false] {
        let world = world();
        let (candidate, _) = world.candidate("a");
        let won = candidate.campaign().await.expect("campaign").expect("nobody leads");
        if by_hand {
            let ops = vec![Op::Delete(LeaderKey.text())];
            world.kv.txn(Txn { compares: vec![], ops }).await.expect("txn");
        } else {
            world.kv.depose();
        }
        let start = world.clock.boot();
        candidate.keep(&won).await;
        assert!(world.clock.boot() <= start + LEASE / 2);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_resigns_lets_another_lead_at_once() {
    let world = world();
    let ((first, _), (second, _)) = (world.candidate("a"), world.candidate("b"));
    let won = first.campaign().await.expect("campaign").expect("nobody leads");
    let start = world.clock.boot();
    let ((), followed) = futures::join!(first.resign(&won), second.follow(drop));
    followed.expect("nobody leads");
    assert!(world.clock.boot() < start + Duration::from_secs(1));
    won.leadership.check(world.clock.boot()).expect_err("over");
    won.leadership.renew(world.clock.boot() + LEASE);
    won.leadership.check(world.clock.boot()).expect_err("a late renewal does not bring it back");
}
