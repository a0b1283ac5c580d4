use std::future::{pending, ready};

use varve_service::clock::ManualClock;

use super::*;

fn processes() -> Processes {
    Processes::new(Arc::new(ManualClock::new(3, 5_000_000)))
}

fn cancel(process: ProcessId, scope: CancelScope, secret: Option<&[u8]>) -> Cancel {
    Cancel { process, scope, secret: secret.map(<[u8]>::to_vec) }
}

fn session() -> Session {
    Session { user: "me".to_owned(), ..Session::new(Wire::Postgres) }
}

#[tokio::test(start_paused = true)]
async fn a_statement_is_listed_from_its_beginning_to_its_end() {
    let processes = processes();
    let address = |text: &str| text.parse().expect("an address");
    processes.listens_on(address("10.0.0.1:4000"));
    let connection = processes.enter(Wire::Postgres, Some(address("127.0.0.1:7")));
    assert!(processes.list().is_empty());
    let text = "ä".repeat(QUERY_BYTES_MAX);
    let execution = connection.begin(&session(), &text);
    tokio::time::advance(Duration::from_millis(9)).await;
    let expected = Process {
        id: connection.id(),
        frontend: "10.0.0.1:4000".to_owned(),
        client: "postgres[127.0.0.1:7]".to_owned(),
        user: "me".to_owned(),
        database: "public".to_owned(),
        query: "ä".repeat(QUERY_BYTES_MAX / 2),
        started_ms: 5,
        elapsed: Duration::from_millis(9),
    };
    assert_eq!(processes.list(), [expected]);
    drop(execution);
    assert!(processes.list().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_secret_must_be_right_where_one_is_given() {
    let processes = processes();
    let connection = processes.enter(Wire::Postgres, None);
    let execution = connection.begin(&session(), "q");
    let (id, secret) = (connection.id(), connection.secret());
    let mut wrong = secret;
    wrong[3] ^= 1;
    for secret in [&wrong[..], b"", &secret[..3]] {
        assert_eq!(processes.cancel(&cancel(id, CancelScope::Connection, Some(secret))), Verdict::Wrong);
    }
    let other = cancel(ProcessId(id.0 ^ 1), CancelScope::Statement, Some(&secret));
    assert_eq!(processes.cancel(&other), Verdict::Unknown);
    assert!(!execution.cancel.is_cancelled());
    assert_eq!(processes.cancel(&cancel(id, CancelScope::Statement, Some(&secret))), Verdict::Found);
    assert!(execution.cancel.is_cancelled());
    assert!(!connection.end().is_cancelled());
    assert_eq!(processes.cancel(&cancel(id, CancelScope::Connection, None)), Verdict::Found);
    assert!(connection.end().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_runs_nothing_is_known_until_it_ends() {
    let processes = processes();
    let connection = processes.enter(Wire::Mysql, None);
    let statement = cancel(connection.id(), CancelScope::Statement, None);
    assert_eq!(processes.cancel(&statement), Verdict::Found);
    // What was asked before does not end the next statement.
    let execution = connection.begin(&session(), "q");
    assert!(!execution.cancel.is_cancelled());
    drop(execution);
    drop(connection);
    assert_eq!(processes.cancel(&statement), Verdict::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_request_ends_with_its_statement() {
    let processes = processes();
    let execution = processes.enter(Wire::HttpSql, None).into_statement(&session(), "q");
    assert_eq!(processes.list().len(), 1);
    drop(execution);
    assert!(processes.0.state.lock().open.is_empty());
}

#[tokio::test(start_paused = true)]
async fn numbers_are_unique_across_the_end_of_their_range_and_a_new_frontend_number() {
    let processes = processes();
    processes.0.state.lock().next = (1 << 21) - 1;
    let connections = (0..3).map(|_| processes.enter(Wire::Mysql, None)).collect::<Vec<_>>();
    let ids = connections.iter().map(|connection| connection.id().0 & ((1 << 21) - 1)).collect::<Vec<_>>();
    assert_eq!(ids, [(1 << 21) - 1, 0, 1]);
    processes.0.state.lock().next = 0;
    assert_eq!(processes.enter(Wire::Mysql, None).id().0 & ((1 << 21) - 1), 2);
    let old = processes.frontend();
    processes.renumber(FrontendId(old.0 % FrontendId::MAX + 1));
    assert_eq!(processes.enter(Wire::Mysql, None).id().frontend(), processes.frontend());
    assert_eq!(connections[0].id().frontend(), old);
    assert_eq!(processes.cancel(&cancel(connections[0].id(), CancelScope::Statement, None)), Verdict::Found);
}

#[tokio::test(start_paused = true)]
async fn a_statement_of_a_connection_that_is_to_end_is_cancelled_from_its_beginning() {
    let processes = processes();
    let connection = processes.enter(Wire::Mysql, None);
    let running = connection.begin(&session(), "q");
    processes.cancel(&cancel(connection.id(), CancelScope::Connection, None));
    assert!(running.cancel.is_cancelled());
    drop(running);
    let next = connection.begin(&session(), "q");
    assert_eq!(next.bound(pending(), ready(1)).await, Err(Ended::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn work_is_bound_by_its_time_its_client_and_a_kill_even_when_it_is_always_ready() {
    let processes = processes();
    let connection = processes.enter(Wire::Postgres, None);
    let timeout = Duration::from_secs(7);
    let execution = connection.begin(&Session { timeout, ..session() }, "q");
    assert_eq!(execution.bound(pending(), ready(1)).await, Ok(1));
    assert_eq!(execution.bound(ready(()), ready(1)).await, Err(Ended::Gone));
    tokio::time::advance(Duration::from_secs(5)).await;
    let before = tokio::time::Instant::now();
    assert_eq!(execution.bound(pending(), pending::<()>()).await, Err(Ended::Late(timeout)));
    assert_eq!(before.elapsed().as_secs(), 2, "the time is the statement's, not the step's");
    assert_eq!(execution.bound(pending(), ready(1)).await, Err(Ended::Late(timeout)));
    processes.cancel(&cancel(connection.id(), CancelScope::Statement, None));
    assert_eq!(execution.bound(pending(), ready(1)).await, Err(Ended::Cancelled));
}
