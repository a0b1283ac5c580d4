use varve_model::ErrorKind;
use varve_service::telemetry::stage::{Stage, totals};

use crate::fake::Cluster;

async fn spread(nodes: u64, regions: u32, rows: usize) -> Cluster {
    fill(Cluster::start(nodes).await, regions, rows).await
}

async fn fill(cluster: Cluster, regions: u32, rows: usize) -> Cluster {
    let create = "CREATE TABLE t (host STRING PRIMARY KEY, ts TIMESTAMP TIME INDEX, v DOUBLE) WITH (regions = ";
    cluster.exec(&format!("{create}{regions})")).await;
    let rows = (0..rows).map(|at| format!("('h{}', {at}, {at})", at % 10)).collect::<Vec<_>>();
    cluster.exec(&format!("INSERT INTO t VALUES {}", rows.join(", "))).await;
    cluster
}

async fn plan_of(cluster: &Cluster, query: &str) -> String {
    cluster.rows(&format!("EXPLAIN {query}")).await.remove(1)
}

#[tokio::test]
async fn groups_cross_and_rows_do_not() {
    let cluster = spread(3, 3, 1000).await;
    let before = totals(Stage::Exchange).rows;
    let rows = cluster.rows("SELECT host, avg(v) FROM t GROUP BY host ORDER BY host").await;
    assert_eq!(rows.len(), 10);
    // A series lies in one region, but a node may meet a group once per parallel part.
    let crossed = cluster.rows_sent();
    assert!((10..=20).contains(&crossed), "{crossed} rows crossed for 10 groups of 1000 rows");
    // Other tests of the process count there too.
    assert!(totals(Stage::Exchange).rows - before >= crossed);
}

#[tokio::test]
async fn one_owner_runs_the_whole_chain() {
    let cluster = spread(1, 3, 100).await;
    let plan = plan_of(&cluster, "SELECT host, avg(v) FROM t GROUP BY host ORDER BY host LIMIT 3").await;
    assert!(plan.contains("FragmentExec: fragments=1") && plan.trim().lines().count() == 1, "{plan}");
    cluster.rows("SELECT host, avg(v) FROM t GROUP BY host ORDER BY host LIMIT 3").await;
    assert_eq!(cluster.rows_sent(), 3);
}

#[tokio::test]
async fn several_owners_sort_and_cut_their_own_rows() {
    let cluster = spread(3, 3, 300).await;
    let query = "SELECT v FROM t ORDER BY v DESC LIMIT 5";
    let plan = plan_of(&cluster, query).await;
    assert!(plan.contains("SortPreservingMergeExec") && plan.contains("FragmentExec: fragments=3"), "{plan}");
    assert_eq!(cluster.rows(query).await, ["299.0", "298.0", "297.0", "296.0", "295.0"]);
    assert!(cluster.rows_sent() <= 15, "each node sends its own five at most");
}

#[tokio::test]
async fn a_join_keeps_its_partitions_and_cuts_each_side() {
    let cluster = spread(3, 4, 50).await;
    let query = "SELECT count(*) FROM t a JOIN t b ON a.ts = b.ts AND a.host = b.host";
    let plan = plan_of(&cluster, query).await;
    assert_eq!(plan.matches("FragmentExec").count(), 2, "{plan}");
    assert_eq!(cluster.rows(query).await, ["50"]);
}

#[tokio::test]
async fn a_union_reads_every_region_once() {
    let cluster = spread(2, 3, 50).await;
    let query = "SELECT count(*) FROM (SELECT v FROM t UNION ALL SELECT v + 1 FROM t)";
    assert_eq!(cluster.rows(query).await, ["100"]);
}

#[tokio::test]
async fn what_reads_a_subquery_stays_here() {
    let cluster = spread(3, 3, 50).await;
    assert_eq!(cluster.rows("SELECT count(*) FROM t WHERE v > (SELECT avg(v) FROM t)").await, ["25"]);
}

#[tokio::test]
async fn a_moved_region_is_found_again_before_any_row_was_sent() {
    let cluster = spread(2, 1, 20).await;
    cluster.nodes[1].adopt(&cluster.nodes[0]);
    cluster.metasrv.move_regions("t", false);
    let told = async {
        // The first try meets the old owner; then the news arrives.
        while cluster.nodes[0].scans() == 0 {
            tokio::task::yield_now().await;
        }
        cluster.metasrv.tell_table("t");
    };
    let (rows, ()) = tokio::join!(cluster.rows("SELECT count(*) FROM t"), told);
    assert_eq!(rows, ["20"]);
}

#[tokio::test]
async fn a_route_that_stays_stale_ends_as_an_error() {
    let cluster = spread(2, 1, 20).await;
    cluster.metasrv.move_regions("t", false);
    let error = cluster.error("SELECT count(*) FROM t").await;
    assert_eq!(error.kind(), ErrorKind::StaleRoute);
    assert_eq!(cluster.nodes[0].scans(), 4, "the loop is bounded");
}

const JOIN: &str = "SELECT a.host, count(*), sum(b.v) FROM t a JOIN t b ON a.v = b.v GROUP BY a.host ORDER BY a.host";

#[tokio::test]
async fn datanodes_exchange_the_rows_of_a_join() {
    let (meeting_here, shuffling) = (spread(3, 6, 300).await, fill(Cluster::shuffling(3).await, 6, 300).await);
    assert_eq!(shuffling.rows(JOIN).await, meeting_here.rows(JOIN).await);
    let plan = plan_of(&shuffling, JOIN).await;
    assert!(plan.contains("ShuffleExec: nodes=3") && plan.contains("NetworkShuffleExec"), "{plan}");
    assert!(shuffling.rows_sent() < meeting_here.rows_sent() / 10, "{} rows crossed", shuffling.rows_sent());
    assert_eq!(shuffling.nodes.iter().map(|node| node.held()).sum::<u64>(), 0);
}

#[tokio::test]
async fn one_owner_exchanges_nothing() {
    let cluster = fill(Cluster::shuffling(1).await, 3, 100).await;
    let plan = plan_of(&cluster, JOIN).await;
    assert!(!plan.contains("ShuffleExec"), "{plan}");
}

#[tokio::test]
async fn a_region_that_moved_plans_the_whole_exchange_again() {
    let cluster = fill(Cluster::shuffling(2).await, 2, 20).await;
    let rows = cluster.rows(JOIN).await;
    cluster.metasrv.move_regions("t", false);
    cluster.nodes[1].swap(&cluster.nodes[0]);
    let before = cluster.nodes[0].scans();
    let told = async {
        while cluster.nodes[0].scans() == before {
            tokio::task::yield_now().await;
        }
        cluster.metasrv.tell_table("t");
    };
    let (again, ()) = tokio::join!(cluster.rows(JOIN), told);
    assert_eq!(again, rows);
}
