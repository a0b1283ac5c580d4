use varve_model::ErrorKind;
use varve_model::id::ProcessId;
use varve_model::id::process::{Cancel, CancelScope};
use varve_service::clock::ManualClock;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn relay() -> Arc<Relay> {
    Relay::new(Arc::new(ManualClock::new(7, 0)))
}

/// A watch whose catalog has no news, and the number it was given.
async fn watch(relay: &Arc<Relay>, life: u128, wish: u32) -> (FrontendId, Messages<Result<Arc<News>>>) {
    let silence = Box::pin(futures::stream::pending());
    let mut news = relay.watch(Watcher { life, wish: FrontendId(wish) }, silence).expect("a seat");
    let first = news.next().await.expect("a word").expect("no error");
    let Change::Seated(frontend) = first.change else { panic!("the number is the first word: {first:?}") };
    (frontend, news)
}

async fn question(news: &mut Messages<Result<Arc<News>>>) -> Question {
    match &news.next().await.expect("a word").expect("no error").change {
        Change::Asked(question) => question.clone(),
        other => panic!("{other:?} is no question"),
    }
}

fn kill() -> Inquiry {
    Inquiry::Cancel(Cancel { process: ProcessId(9), scope: CancelScope::Statement, secret: None })
}

#[tokio::test(start_paused = true)]
async fn living_frontends_have_numbers_of_their_own_and_keep_them() {
    let relay = relay();
    let (first, news) = watch(&relay, 1, 5).await;
    let (second, _second) = watch(&relay, 2, 5).await;
    assert_eq!((first, second), (FrontendId(5), FrontendId(6)));
    // The same process again, before its old watch is known to be broken.
    let (again, _again) = watch(&relay, 1, 5).await;
    assert_eq!(again, FrontendId(5));
    // The end of the old watch leaves the seat to the new one.
    drop(news);
    assert_eq!(watch(&relay, 3, 5).await.0, FrontendId(7));
    // Numbers of those who have gone are given again, and all numbers are in bounds.
    assert_eq!(watch(&relay, 4, 7).await.0, FrontendId(7));
    assert_eq!(watch(&relay, 5, 0).await.0, FrontendId(1));
    assert_eq!(watch(&relay, 5, u32::MAX).await.0, FrontendId(FrontendId::MAX));
}

#[tokio::test(start_paused = true)]
async fn without_a_free_number_a_frontend_is_told_to_come_later() {
    let relay = relay();
    let mut watches = Vec::new();
    for life in 0..FrontendId::MAX {
        watches.push(watch(&relay, u128::from(life), 1).await);
    }
    let more = relay.watch(Watcher { life: 5000, wish: FrontendId(1) }, Box::pin(futures::stream::pending()));
    assert_eq!(more.err().expect("no number").kind(), ErrorKind::Busy);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_opened_again_ends_the_old_one() {
    let relay = relay();
    let (_, mut old) = watch(&relay, 1, 5).await;
    let (_, _new) = watch(&relay, 1, 5).await;
    assert_eq!(old.next().await.expect("a word").expect_err("the end").kind(), ErrorKind::Unavailable);
    assert!(old.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_catalogs_end_ends_the_watch() {
    let relay = relay();
    let news: Messages<Result<Arc<News>>> = Box::pin(futures::stream::iter([Err(Error::unavailable("lagged"))]));
    let mut watch = relay.watch(Watcher { life: 1, wish: FrontendId(1) }, news).expect("a seat");
    assert!(watch.next().await.expect("its number").is_ok());
    assert!(watch.next().await.expect("the catalog's word").is_err());
    assert!(watch.next().await.is_none());
    assert!(relay.state.lock().seats.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_cancel_is_done_when_one_of_the_others_has_found_the_connection() {
    let relay = relay();
    let (asker, _asker) = watch(&relay, 1, 1).await;
    let (owner, mut to_owner) = watch(&relay, 2, 2).await;
    let (_, _deaf) = watch(&relay, 3, 3).await;
    let answering = async {
        let question = question(&mut to_owner).await;
        assert_eq!(*question.inquiry, kill());
        relay.answer(owner, question.id, Answer::Cancelled(true));
    };
    let (answers, ()) = tokio::join!(relay.ask(asker, kill(), SECOND), answering);
    assert_eq!(answers, Answers { answers: vec![Answer::Cancelled(true)], silent: vec![] });
    assert!(relay.state.lock().waiting.is_empty());
}

#[tokio::test(start_paused = true)]
async fn frontends_that_do_not_answer_are_named_after_a_second() {
    let relay = relay();
    let (asker, mut to_asker) = watch(&relay, 1, 1).await;
    let (prompt, mut to_prompt) = watch(&relay, 2, 2).await;
    let (deaf, _deaf) = watch(&relay, 3, 3).await;
    let answering = async {
        let question = question(&mut to_prompt).await;
        relay.answer(prompt, question.id, Answer::Cancelled(false));
        question.id
    };
    let start = tokio::time::Instant::now();
    let (answers, id) = tokio::join!(relay.ask(asker, kill(), Duration::from_hours(1)), answering);
    assert_eq!(answers, Answers { answers: vec![Answer::Cancelled(false)], silent: vec![deaf] });
    assert_eq!(start.elapsed(), WAIT_MAX);
    // Too late: nobody waits.
    relay.answer(deaf, id, Answer::Cancelled(true));
    // Nobody asks himself.
    let nothing = tokio::time::timeout(Duration::from_secs(5), to_asker.next()).await;
    assert!(nothing.is_err());
    assert!(relay.state.lock().waiting.is_empty());
}

#[tokio::test(start_paused = true)]
async fn alone_nobody_is_waited_for() {
    let relay = relay();
    let (asker, _asker) = watch(&relay, 1, 1).await;
    assert_eq!(relay.ask(asker, Inquiry::Processes, SECOND).await, Answers::default());
}

/// A cancel of a statement on this frontend.
fn kill_on(frontend: FrontendId) -> Inquiry {
    Inquiry::Cancel(Cancel { process: ProcessId::new(frontend, 5), scope: CancelScope::Statement, secret: None })
}

/// Who is silent when the asker alone asks; nobody is waited for.
async fn silent(relay: &Relay, asker: FrontendId, inquiry: Inquiry) -> Vec<FrontendId> {
    let start = tokio::time::Instant::now();
    let said = relay.ask(asker, inquiry, SECOND).await;
    assert_eq!((said.answers, start.elapsed()), (vec![], Duration::ZERO));
    said.silent
}

#[tokio::test(start_paused = true)]
async fn frontends_may_live_that_have_not_come_to_a_new_leader_yet() {
    let relay = relay();
    let away = FrontendId(9);
    let (asker, _asker) = watch(&relay, 1, 1).await;
    assert_eq!(silent(&relay, asker, kill_on(away)).await, [away]);
    // The asker knows its own; nobody has these numbers; a list is of those who are here.
    for definite in [kill_on(asker), kill(), Inquiry::Processes] {
        assert_eq!(silent(&relay, asker, definite).await, []);
    }
    // Those who are here do not speak for it, except by having ended the statement.
    let (other, mut to_other) = watch(&relay, 2, 2).await;
    for (found, unknown) in [(false, vec![away]), (true, vec![])] {
        let answering = async {
            let question = question(&mut to_other).await;
            relay.answer(other, question.id, Answer::Cancelled(found));
        };
        let (answers, ()) = tokio::join!(relay.ask(asker, kill_on(away), SECOND), answering);
        assert_eq!(answers, Answers { answers: vec![Answer::Cancelled(found)], silent: unknown });
    }
    drop(to_other);
    tokio::time::advance(ABSENCE_MAX).await;
    assert_eq!(silent(&relay, asker, kill_on(away)).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_frontend_whose_watch_has_just_ended_may_live() {
    let relay = relay();
    let (asker, _asker) = watch(&relay, 1, 1).await;
    tokio::time::advance(2 * ABSENCE_MAX).await;
    let (away, news) = watch(&relay, 9, 9).await;
    drop(news);
    assert_eq!(silent(&relay, asker, kill_on(away)).await, [away]);
    tokio::time::advance(ABSENCE_MAX.saturating_sub(SECOND)).await;
    assert_eq!(silent(&relay, asker, kill_on(away)).await, [away]);
    // It comes back, and answers for itself.
    let (back, mut news) = watch(&relay, 9, away.0).await;
    assert_eq!(back, away);
    let answering = async {
        let question = question(&mut news).await;
        relay.answer(back, question.id, Answer::Cancelled(false));
    };
    let (answers, ()) = tokio::join!(relay.ask(asker, kill_on(away), SECOND), answering);
    assert_eq!(answers, Answers { answers: vec![Answer::Cancelled(false)], silent: vec![] });
    drop(news);
    tokio::time::advance(ABSENCE_MAX).await;
    assert_eq!(silent(&relay, asker, kill_on(away)).await, []);
}
