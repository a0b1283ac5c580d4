//! What is there after a stop, and who may open a directory.

use varve::standalone::{Adapter, Standalone};

use crate::kit::{Varve, config};

#[tokio::test]
async fn rows_in_memory_and_in_files_survive_a_restart() {
    let varve = Varve::start().await;
    varve.write("/write?db=public", "cpu,host=a usage=1 1\n").await;
    varve.run("ADMIN flush_table('cpu')").await;
    varve.write("/write?db=public", "cpu,host=a usage=2 2\ncpu,host=b usage=3 1\n").await;
    varve.run("CREATE TABLE empty (t TIMESTAMP TIME INDEX)").await;
    let varve = varve.restart().await;
    let rows = varve.rows("SELECT host, usage FROM cpu ORDER BY host, \"time\"").await;
    assert_eq!(serde_json::json!(rows), serde_json::json!([["a", 1.0], ["a", 2.0], ["b", 3.0]]));
    assert!(varve.rows("SELECT * FROM empty").await.is_empty());
    let (status, _) = varve.write("/write?db=public", "cpu,host=b usage=4 2\n").await;
    assert_eq!(status, 204);
    assert_eq!(varve.rows("SELECT count(*) FROM cpu").await[0][0], 4);
    varve.stop().await;
}

#[tokio::test]
async fn a_data_directory_in_use_is_refused() {
    let varve = Varve::start().await;
    let error =
        Standalone::start(config(varve.folder()), Adapter::InProcess).await.expect_err("the directory is locked");
    assert!(error.to_string().contains("in use"), "{error}");
    varve.stop().await;
}
