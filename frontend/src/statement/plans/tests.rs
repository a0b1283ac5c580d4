use varve_model::value::Value;
use varve_protocol::session::Session;

use super::*;
use crate::fake::Cluster;
use crate::language::sql::Statement;
use crate::statement::{Conductor, statements};

async fn cluster() -> Cluster {
    let cluster = Cluster::start(2).await;
    cluster
        .exec(
            "CREATE TABLE t (host STRING PRIMARY KEY, ts TIMESTAMP(3) TIME INDEX, v DOUBLE);
             INSERT INTO t VALUES ('a', 1000, 1.5), ('b', 2000, 2.5);
             CREATE DATABASE other; CREATE TABLE other.t (ts TIMESTAMP TIME INDEX)",
        )
        .await;
    cluster
}

fn conductor(cluster: &Cluster) -> &Conductor {
    cluster.frontend.conductor()
}

/// Whether the plan of this text would be used now.
fn is_known(cluster: &Cluster, session: &Session, text: &str) -> bool {
    let conductor = conductor(cluster);
    let scope = conductor.scope(session, Vec::new()).unwrap();
    let Some(Statement::Query(query)) = statements(&scope, text).unwrap().pop() else { panic!("{text} is no query") };
    let key = Key::of(&scope, &query);
    key.is_some_and(|key| conductor.plans.get(&key, &conductor.feed.view()).is_some())
}

#[tokio::test]
async fn a_plan_is_known_for_the_same_query_in_the_same_setting() {
    let cluster = cluster().await;
    let text = "SELECT host, v FROM t WHERE ts > '1970-01-01 00:00:01' AND v > (SELECT min(v) FROM t)";
    assert!(!is_known(&cluster, &cluster.session, text));
    for _ in 0..2 {
        assert_eq!(cluster.rows(text).await, ["b|2.5"]);
        assert!(is_known(&cluster, &cluster.session, text));
    }
    for session in [
        Session { database: "other".to_owned(), ..cluster.session.clone() },
        Session { time_zone: "+01:00".to_owned(), ..cluster.session.clone() },
        Session { wire: Wire::Mysql, ..cluster.session.clone() },
    ] {
        assert!(!is_known(&cluster, &session, text), "{session:?}");
    }
    assert!(!is_known(&cluster, &cluster.session, &text.replace("min", "max")));
}

#[tokio::test]
async fn what_changes_between_two_statements_is_planned_each_time() {
    let cluster = cluster().await;
    for text in [
        "SELECT now()",
        "SELECT v FROM t WHERE ts < now()",
        "SELECT v FROM t WHERE v < (SELECT random())",
        "SELECT current_user",
        "SELECT count(*) FROM information_schema.tables",
        "SELECT 't'::regclass",
    ] {
        cluster.batches(text).await.unwrap();
        assert!(!is_known(&cluster, &cluster.session, text), "{text}");
    }
    let mysql = Session { wire: Wire::Mysql, ..cluster.session.clone() };
    for text in ["SELECT @@time_zone", "SELECT v, @x FROM t"] {
        let scope = conductor(&cluster).scope(&mysql, Vec::new()).unwrap();
        let Some(Statement::Query(query)) = statements(&scope, text).unwrap().pop() else { panic!("{text}") };
        assert_eq!(Key::of(&scope, &query), None, "{text}");
    }
    let scope = conductor(&cluster).scope(&cluster.session, vec![Value::I64(1)]).unwrap();
    let Some(Statement::Query(query)) = statements(&scope, "SELECT $1").unwrap().pop() else { panic!("a query") };
    assert_eq!(Key::of(&scope, &query), None);
}

#[tokio::test]
async fn a_plan_ends_with_any_change_of_its_tables_and_of_no_others() {
    let cluster = cluster().await;
    let text = "SELECT * FROM t WHERE host = 'a'";
    for (change, expected) in [
        ("ALTER TABLE t ADD COLUMN n BIGINT", "a|1970-01-01T00:00:01|1.5|"),
        ("ALTER DATABASE public SET ttl = '1000 years'", "a|1970-01-01T00:00:01|1.5|"),
        ("ALTER TABLE t DROP COLUMN n", "a|1970-01-01T00:00:01|1.5"),
    ] {
        cluster.rows(text).await;
        cluster.exec("ALTER TABLE other.t ADD COLUMN IF NOT EXISTS x BIGINT").await;
        assert!(is_known(&cluster, &cluster.session, text));
        cluster.exec(change).await;
        assert!(!is_known(&cluster, &cluster.session, text), "{change}");
        assert_eq!(cluster.rows(text).await, [expected], "{change}");
    }
    cluster.metasrv.move_regions("t", true);
    // News of the routes come by themselves; this would not end if they changed nothing.
    while is_known(&cluster, &cluster.session, text) {
        tokio::task::yield_now().await;
    }
    cluster.exec("DROP TABLE t").await;
    assert!(cluster.batches(text).await.is_err());
}

#[tokio::test]
async fn a_plan_weighs_the_columns_of_its_tables() {
    let cluster = cluster().await;
    let columns = (0..200).map(|number| format!("f{number} DOUBLE, ")).collect::<String>();
    cluster.exec(&format!("CREATE TABLE wide (host STRING PRIMARY KEY, {columns} ts TIMESTAMP TIME INDEX)")).await;
    let plans = &conductor(&cluster).plans.0;
    let mut weights = Vec::new();
    for text in ["SELECT host FROM t", "SELECT host FROM wide", "SELECT a.host FROM wide a JOIN wide b USING (host)"] {
        plans.run_pending_tasks();
        let before = plans.weighted_size();
        cluster.rows(text).await;
        plans.run_pending_tasks();
        weights.push(plans.weighted_size() - before);
    }
    assert!(weights[1] - weights[0] > 190 * BYTES_PER_COLUMN as u64, "{weights:?}");
    assert!(weights[2] - weights[1] > 190 * BYTES_PER_COLUMN as u64, "{weights:?}");
}

#[test]
fn all_plans_together_are_bounded() {
    let plans = Plans::new();
    let plan = datafusion::logical_expr::LogicalPlanBuilder::empty(true).build().unwrap();
    for number in 0..5000 {
        let mut parser =
            datafusion::sql::sqlparser::parser::Parser::new(&datafusion::sql::sqlparser::dialect::GenericDialect)
                .try_with_sql(&format!("SELECT {number}"))
                .unwrap();
        let query = *parser.parse_query().unwrap();
        let key = Key { is_mysql: false, database: String::new(), time_zone: String::new(), query };
        plans.put(key, plan.clone(), Vec::new());
    }
    plans.0.run_pending_tasks();
    assert!(plans.0.weighted_size() <= PLAN_CACHE_BYTES_MAX && plans.0.entry_count() > 100);
}
