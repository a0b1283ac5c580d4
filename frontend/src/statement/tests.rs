use varve_model::{ErrorKind, Reason};

use crate::fake::Cluster;

async fn cpu(nodes: u64, regions: u32) -> Cluster {
    let cluster = Cluster::start(nodes).await;
    let create = format!(
        "CREATE TABLE cpu (host STRING, dc STRING, ts TIMESTAMP TIME INDEX, usage DOUBLE, note STRING,
         PRIMARY KEY (host, dc)) WITH (regions = {regions})"
    );
    cluster.exec(&create).await;
    for at in 0..12 {
        let insert = format!("INSERT INTO cpu VALUES ('h{}', 'd{}', {at}, {at}.5, 'n{at}')", at % 4, at % 2);
        assert_eq!(cluster.exec(&insert).await, 1);
    }
    cluster
}

#[tokio::test]
async fn rows_are_created_inserted_and_selected() {
    let cluster = cpu(1, 1).await;
    assert_eq!(cluster.rows("SELECT count(*) FROM cpu").await, ["12"]);
    assert_eq!(
        cluster.rows("SELECT host, usage, ts FROM cpu WHERE host = 'h1' AND ts >= 5 ORDER BY ts").await,
        ["h1|5.5|1970-01-01T00:00:00.005", "h1|9.5|1970-01-01T00:00:00.009"]
    );
    assert_eq!(cluster.rows("SELECT * FROM cpu WHERE usage > 10.6").await, ["h3|d1|1970-01-01T00:00:00.011|11.5|n11"]);
}

#[tokio::test]
async fn a_partial_aggregate_crosses_as_groups_and_not_as_rows() {
    use varve_service::telemetry::stage::{Stage, totals};
    let cluster = cpu(3, 3).await;
    let before = totals(Stage::Exchange).rows;
    let mut rows = cluster.rows("SELECT host, avg(usage) FROM cpu GROUP BY host").await;
    rows.sort_unstable();
    assert_eq!(rows, ["h0|4.5", "h1|5.5", "h2|6.5", "h3|7.5"]);
    let crossed = totals(Stage::Exchange).rows - before;
    assert_eq!(crossed, 4, "each group lives in one region here, so four groups cross");
}
