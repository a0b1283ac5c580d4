use super::*;
use tokio::sync::oneshot;

#[tokio::test]
async fn stopping_waits_for_tasks_that_watch_the_token() {
    let tasks = TaskSet::new(Blocking::Threads);
    let (done, seen) = oneshot::channel();
    let token = tasks.token().clone();
    tasks.spawn("watcher", async move {
        token.cancelled().await;
        done.send(()).expect("test listens");
    });
    tasks.stop().await;
    seen.await.expect("the task ended before stop returned");
}

#[tokio::test]
async fn killing_drops_a_task_in_mid_await() {
    let tasks = TaskSet::new(Blocking::Inline);
    let (held, dropped) = oneshot::channel::<()>();
    tasks.spawn("sleeper", async move {
        let _held = held;
        std::future::pending::<()>().await;
    });
    tasks.kill();
    dropped.await.expect_err("the sender was dropped with its task");
}

#[tokio::test]
async fn a_panic_in_blocking_work_is_an_error() {
    let tasks = TaskSet::new(Blocking::Threads);
    let error = tasks.blocking("work", || panic!("boom")).await.expect_err("panic");
    assert_eq!(error.kind(), varve_model::ErrorKind::Internal);
}

#[tokio::test]
async fn a_child_ends_with_its_parent_and_can_end_before() {
    let parent = TaskSet::new(Blocking::Inline);
    let held = |set: &TaskSet| {
        let (held, dropped) = oneshot::channel::<()>();
        set.spawn("sleeper", async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        dropped
    };
    let (first, second) = (parent.child(), parent.child());
    let (own, early, late) = (held(&parent), held(&first), held(&second));
    first.kill();
    early.await.expect_err("the child's task was dropped");
    assert!(first.token().is_cancelled() && !parent.token().is_cancelled() && !second.token().is_cancelled());
    parent.kill();
    own.await.expect_err("the parent's task was dropped");
    late.await.expect_err("and so was the other child's");
    assert!(second.token().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_paused_set_runs_nothing_while_time_goes_on() {
    let tasks = TaskSet::new(Blocking::Inline);
    let child = tasks.child();
    let clock = crate::clock::ManualClock::new(1, 0);
    let sleep = |millis| crate::clock::Clock::sleep(&clock, std::time::Duration::from_millis(millis));
    let (own, childs) = (tasks.spawn("own", sleep(10)), child.spawn("child's", sleep(10)));
    tasks.pause();
    sleep(1000).await;
    assert!(!own.is_finished() && !childs.is_finished(), "their time has come and they do not run");
    let late = child.spawn("late", async {});
    sleep(1000).await;
    assert!(!late.is_finished(), "what starts in a pause waits too");
    tasks.resume();
    for task in [own, childs, late] {
        task.await.expect("it goes on");
    }
    tasks.pause();
    let stuck = tasks.spawn("stuck", async {});
    tasks.kill();
    assert!(stuck.await.expect_err("killed").is_cancelled(), "a pause does not save from a kill");
}
