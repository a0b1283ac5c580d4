use std::future::{pending, ready};
use std::time::Duration;

use varve_model::ErrorKind;
use varve_model::id::process::CancelScope;
use varve_model::id::{FrontendId, ProcessId};
use varve_proto::metasrv::Answers;
use varve_protocol::gateway::Gateway;
use varve_protocol::process::{Connection, Ended, Execution};
use varve_protocol::session::Wire;

use super::*;
use crate::fake::{Cluster, SEAT, Said};

const ELSEWHERE: ProcessId = ProcessId(9 << 21 | 5);

fn cancel(process: ProcessId) -> Cancel {
    Cancel { process, scope: CancelScope::Statement, secret: None }
}

fn said(answers: Vec<Answer>) -> Said {
    Said::Answers(Answers { answers, silent: vec![] })
}

fn process() -> Process {
    Process {
        id: ELSEWHERE,
        frontend: "10.0.0.9:4000".to_owned(),
        client: "mysql[10.0.0.1:5]".to_owned(),
        user: "me".to_owned(),
        database: "public".to_owned(),
        query: "SELECT \u{e4}".to_owned() + &"x".repeat(200),
        started_ms: 1_000,
        elapsed: Duration::from_millis(2_500),
    }
}

/// A client's statement on this frontend.
fn runs(cluster: &Cluster, text: &str) -> (Connection, Execution) {
    let connection = cluster.frontend.processes().enter(Wire::Mysql, None);
    let execution = connection.begin(&cluster.session, text);
    (connection, execution)
}

async fn is_cancelled(execution: &Execution) -> bool {
    execution.bound(pending(), ready(())).await == Err(Ended::Cancelled)
}

#[tokio::test]
async fn a_kill_ends_a_statement_here_without_asking_others() {
    let cluster = Cluster::start(1).await;
    let (connection, execution) = runs(&cluster, "q");
    assert_eq!(connection.id().frontend(), SEAT);
    cluster.exec(&format!("KILL QUERY {}", connection.id())).await;
    assert!(is_cancelled(&execution).await);
    assert!(!connection.end().is_cancelled());
    cluster.exec(&format!("KILL '{}'", connection.id())).await;
    assert!(connection.end().is_cancelled());
    assert!(cluster.metasrv.asked().is_empty());
}

#[tokio::test]
async fn a_kill_of_another_frontends_statement_is_passed_on() {
    let cluster = Cluster::start(1).await;
    cluster.metasrv.answer_with(said(vec![Answer::Cancelled(false), Answer::Cancelled(true)]));
    cluster.exec(&format!("KILL CONNECTION {ELSEWHERE}")).await;
    let expected = Cancel { scope: CancelScope::Connection, ..cancel(ELSEWHERE) };
    assert_eq!(cluster.metasrv.asked(), [(SEAT, Inquiry::Cancel(expected))]);
}

#[tokio::test]
async fn a_statement_that_nobody_runs_is_not_found_and_one_that_may_run_is_to_be_tried_again() {
    let cluster = Cluster::start(1).await;
    cluster.metasrv.answer_with(said(vec![Answer::Cancelled(false)]));
    let kill = format!("KILL {ELSEWHERE}");
    let error = cluster.error(&kill).await;
    assert_eq!((error.kind(), error.reason()), (ErrorKind::NotFound, Reason::Process));
    assert!(error.message().starts_with("Unknown thread id"), "{error}");
    let silent = vec![FrontendId(3)];
    cluster.metasrv.answer_with(Said::Answers(Answers { answers: vec![Answer::Cancelled(false)], silent }));
    assert_eq!(cluster.error(&kill).await.kind(), ErrorKind::Unavailable);
    for (bad, reason) in [("KILL", Reason::Syntax), ("KILL all", Reason::Syntax), ("KILL -1", Reason::Syntax)] {
        assert_eq!(cluster.error(bad).await.reason(), reason, "{bad}");
    }
}

#[tokio::test]
async fn the_functions_of_postgres_say_whether_there_was_such_a_process() {
    let cluster = Cluster::start(1).await;
    let (connection, execution) = runs(&cluster, "q");
    assert_eq!(cluster.rows(&format!("SELECT pg_cancel_backend({})", connection.id())).await, ["true"]);
    assert!(is_cancelled(&execution).await);
    let terminate = format!("select pg_catalog.pg_terminate_backend({}, 100)", connection.id());
    assert_eq!(cluster.rows(&terminate).await, ["true"]);
    assert!(connection.end().is_cancelled());
    assert_eq!(cluster.rows("SELECT pg_cancel_backend(5)").await, ["false"]);
}

#[tokio::test]
async fn a_function_that_kills_does_so_only_as_a_statement_of_its_own() {
    let cluster = Cluster::start(1).await;
    let (connection, execution) = runs(&cluster, "q");
    let call = format!("pg_terminate_backend({})", connection.id());
    for query in [
        format!("SELECT {call} WHERE false"),
        format!("SELECT {call} HAVING false"),
        format!("SELECT {call} LIMIT 0"),
        format!("SELECT {call} FETCH FIRST 0 ROWS ONLY"),
        format!("SELECT {call} OFFSET 1"),
        format!("SELECT {call} ORDER BY 1"),
        format!("SELECT DISTINCT {call}"),
        format!("SELECT {call} GROUP BY 1"),
        format!("SELECT {call} QUALIFY false"),
        format!("WITH x AS (SELECT 1) SELECT {call}"),
        format!("SELECT {call} FROM pg_stat_activity"),
        format!("SELECT {call} FILTER (WHERE false)"),
        format!("SELECT {call} OVER ()"),
        format!("SELECT pg_terminate_backend(DISTINCT {})", connection.id()),
        format!("SELECT pg_terminate_backend({}, 1, 1)", connection.id()),
        format!("SELECT pg_terminate_backend({}, now())", connection.id()),
        format!("SELECT pg_cancel_backend({}, 1)", connection.id()),
        format!("SELECT {call} AS done"),
        format!("SELECT {call}, 1"),
        format!("SELECT {call} UNION SELECT true"),
        format!("SELECT CASE WHEN false THEN {call} END"),
        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity".to_owned(),
    ] {
        assert_eq!(cluster.error(&query).await.kind(), ErrorKind::InvalidRequest, "{query}");
    }
    let error = cluster.error(&format!("SELECT {call} WHERE false")).await;
    assert!(error.message().contains("pg_terminate_backend takes a number and stands alone"), "{error}");
    assert!(!is_cancelled(&execution).await && !connection.end().is_cancelled());
    assert!(cluster.metasrv.asked().iter().all(|(_, inquiry)| *inquiry == Inquiry::Processes));
}

#[tokio::test]
async fn a_right_secret_cancels_and_a_wrong_one_is_no_processs() {
    let cluster = Cluster::start(1).await;
    let (connection, execution) = runs(&cluster, "q");
    let with = |secret: &[u8]| Cancel { secret: Some(secret.to_vec()), ..cancel(connection.id()) };
    let wrong = cluster.frontend.cancel(with(b"1")).await.expect_err("wrong");
    assert_eq!(wrong.kind(), ErrorKind::NotFound);
    assert!(cluster.metasrv.asked().is_empty(), "the connection is here, and nowhere else");
    cluster.frontend.cancel(with(&connection.secret())).await.expect("right");
    assert!(is_cancelled(&execution).await);
}

#[tokio::test]
async fn cancels_of_strangers_do_not_keep_a_kill_out() {
    let cluster = Cluster::start(1).await;
    cluster.metasrv.answer_with(Said::Never);
    let stranger = || cluster.frontend.cancel(Cancel { secret: Some(vec![1, 2, 3, 4]), ..cancel(ELSEWHERE) });
    let mut waiting = (0..CANCELS_MAX).map(|_| stranger()).collect::<Vec<_>>();
    for cancel in &mut waiting {
        assert!(futures::poll!(cancel).is_pending());
    }
    assert_eq!(stranger().await.expect_err("too many").kind(), ErrorKind::Busy);
    cluster.metasrv.answer_with(said(vec![Answer::Cancelled(true)]));
    cluster.exec(&format!("KILL {ELSEWHERE}")).await;
}

#[tokio::test]
async fn a_list_that_lacks_statements_says_so_and_shows_the_others() {
    let cluster = Cluster::start(1).await;
    let (connection, _execution) = runs(&cluster, "slow");
    let list = "SELECT id, frontend, query FROM information_schema.process_list WHERE frontend <> ''";
    let own = format!("{}|127.0.0.1:4000|slow", connection.id());
    cluster.metasrv.answer_with(Said::Nothing);
    let rows = cluster.rows(list).await;
    assert_eq!(rows[0], own);
    assert!(rows[1].starts_with("0|others|<the statements of other frontends are not shown: "), "{rows:?}");
    assert!(rows[1].contains("no metasrv"), "{rows:?}");
    let silent = vec![FrontendId(3)];
    cluster.metasrv.answer_with(Said::Answers(Answers { answers: vec![Answer::Processes(vec![process()])], silent }));
    let rows = cluster.rows(list).await;
    assert_eq!((rows.len(), &rows[0]), (3, &own));
    assert_eq!(rows[2], "0|number 3|<the statements of frontend 3 are not shown: it does not answer>");
    let shown = "0||||Unknown|0||<the statements of frontend 3 are not shown: it does not answer>";
    assert_eq!(cluster.rows("SHOW PROCESSLIST").await[2], shown);
    assert_eq!(cluster.rows("SELECT pid FROM pg_stat_activity WHERE state IS NULL").await, ["0"]);
}

#[tokio::test]
async fn lists_show_the_statements_of_all_frontends() {
    let cluster = Cluster::start(1).await;
    let (connection, _execution) = runs(&cluster, "slow");
    cluster.metasrv.answer_with(said(vec![Answer::Processes(vec![process()])]));
    let rows = cluster
        .rows(
            "SELECT id, schemas, client, frontend, start_timestamp, elapsed_time, user_name
             FROM information_schema.process_list ORDER BY elapsed_time DESC LIMIT 1",
        )
        .await;
    assert_eq!(rows, [format!("{ELSEWHERE}|public|mysql[10.0.0.1:5]|10.0.0.9:4000|1970-01-01T00:00:01|2500|me")]);
    let own = format!("SELECT query, frontend FROM information_schema.process_list WHERE id = {}", connection.id());
    assert_eq!(cluster.rows(&own).await, ["slow|127.0.0.1:4000"]);
    let activity = "SELECT pid, usename, state FROM pg_stat_activity WHERE pid <> pg_backend_pid() ORDER BY pid DESC";
    assert!(cluster.rows(activity).await.contains(&format!("{ELSEWHERE}|me|active")));
    let rows = cluster.rows("SHOW PROCESSLIST").await;
    assert_eq!(rows[0], format!("{}||mysql[]|public|Query|0|executing|slow", connection.id()));
    let info = |row: &str| row.rsplit('|').next().map(|info| info.chars().count());
    assert_eq!(info(&rows[1]), Some(100));
    assert_eq!(info(&cluster.rows("SHOW FULL PROCESSLIST WHERE Time > '1'").await[0]), Some(208));
}

#[tokio::test]
async fn other_frontends_questions_are_answered() {
    let cluster = Cluster::start(1).await;
    let (connection, execution) = runs(&cluster, "q");
    let Answer::Processes(list) = cluster.metasrv.question(Inquiry::Processes).await else { panic!("a list") };
    assert_eq!(list.iter().map(|process| process.id).collect::<Vec<_>>(), [connection.id()]);
    let asked = cluster.metasrv.question(Inquiry::Cancel(cancel(connection.id()))).await;
    assert_eq!(asked, Answer::Cancelled(true));
    assert!(is_cancelled(&execution).await);
    assert_eq!(cluster.metasrv.question(Inquiry::Cancel(cancel(ELSEWHERE))).await, Answer::Cancelled(false));
    // A question is no news of the catalog.
    cluster.exec("CREATE TABLE t (ts TIMESTAMP TIME INDEX)").await;
}
