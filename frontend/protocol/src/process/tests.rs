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
    let client = "127.0.0.1:7".parse().expect("an address");
    let connection = processes.enter(Wire::Postgres, Some(client));
    assert!(processes.list("here").is_empty());
    let text = "ä".repeat(QUERY_BYTES_MAX);
    let execution = connection.begin(&session(), &text);
    tokio::time::advance(Duration::from_millis(9)).await;
    let expected = Process {
        id: connection.id(),
        frontend: "here".to_owned(),
        client: "postgres[127.0.0.1:7]".to_owned(),
        user: "me".to_owned(),
        database: "public".to_owned(),
        query: "ä".repeat(QUERY_BYTES_MAX / 2),
        started_ms: 5,
        elapsed: Duration::from_millis(9),
    };
    assert_eq!(processes.list("here"), [expected]);
    drop(execution);
    assert!(processes.list("here").is_empty());
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
        assert!(!processes.cancel(&cancel(id, CancelScope::Connection, Some(secret))));
    }
    assert!(!processes.cancel(&cancel(ProcessId(id.0 ^ 1), CancelScope::Statement, Some(&secret))));
    assert!(!execution.cancel.is_cancelled());
    assert!(processes.cancel(&cancel(id, CancelScope::Statement, Some(&secret))));
    execution.cancelled().await;
    assert!(!connection.end().is_cancelled());
    assert!(processes.cancel(&cancel(id, CancelScope::Connection, None)));
    assert!(connection.end().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_runs_nothing_is_known_until_it_ends() {
    let processes = processes();
    let connection = processes.enter(Wire::Mysql, None);
    let statement = cancel(connection.id(), CancelScope::Statement, None);
    assert!(processes.cancel(&statement));
    // What was asked before does not end the next statement.
    let execution = connection.begin(&session(), "q");
    assert!(!execution.cancel.is_cancelled());
    drop(execution);
    drop(connection);
    assert!(!processes.cancel(&statement));
}

#[tokio::test(start_paused = true)]
async fn a_request_ends_with_its_statement() {
    let processes = processes();
    let execution = processes.enter(Wire::HttpSql, None).into_statement(&session(), "q");
    assert_eq!(processes.list("here").len(), 1);
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
    assert!(processes.cancel(&cancel(connections[0].id(), CancelScope::Statement, None)));
}
