//! What crosses between datanode and frontend, and what `/v1/sql` says.

use varve_service::telemetry::stage::{Stage, totals};

use crate::kit::Varve;

#[tokio::test]
async fn only_groups_cross_from_the_datanode_for_an_aggregate() {
    let varve = Varve::start().await;
    varve
        .run("CREATE TABLE m (host STRING PRIMARY KEY, t TIMESTAMP(3) TIME INDEX, v DOUBLE) WITH (regions = '3')")
        .await;
    let lines = (0..3000).map(|n| format!("m,host=h{} v={n} {}\n", n % 6, n + 1)).collect::<String>();
    let (status, text) = varve.write("/write?db=public&precision=ms", lines).await;
    assert_eq!(status, 204, "{text}");
    let before = totals(Stage::Exchange).rows;
    let rows = varve.rows("SELECT host, count(*), avg(v) FROM m GROUP BY host ORDER BY host").await;
    assert_eq!(rows.len(), 6);
    assert!(rows.iter().all(|row| row[1] == 500), "{rows:?}");
    let crossed = totals(Stage::Exchange).rows - before;
    // Other tests of this process share the counter; none reads thousands of rows.
    assert!(crossed < 1000, "{crossed} rows crossed for 6 groups");
}

#[tokio::test]
async fn adding_a_column_that_exists_answers_greptimedbs_code() {
    let varve = Varve::start().await;
    varve.run("CREATE TABLE m (t TIMESTAMP TIME INDEX, v DOUBLE)").await;
    let (status, reply) = varve.sql("ALTER TABLE m ADD COLUMN v DOUBLE").await;
    assert_eq!((status, reply["code"].as_u64()), (400, Some(4003)), "{reply}");
}
