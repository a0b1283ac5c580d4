//! Line protocol against the whole database.

use crate::kit::Varve;

#[tokio::test]
async fn good_rows_next_to_bad_ones_are_stored() {
    let varve = Varve::start().await;
    let (status, text) = varve.write("/write?db=public", "cpu,host=a usage=1 1\n,, \ncpu,host=b usage=2 1\n").await;
    assert_eq!(status, 400);
    assert!(text.contains("partial write") && text.contains("unable to parse"), "{text}");
    let (status, text) = varve.write("/write?db=public", "cpu,host=c usage=\"x\" 1\ncpu,host=d usage=4 1\n").await;
    assert_eq!(status, 400);
    assert!(
        text.contains("field type conflict: input field \\\"usage\\\" on measurement \\\"cpu\\\" is type string, already exists as type float dropped=1"),
        "{text}"
    );
    let rows = varve.rows("SELECT host FROM cpu ORDER BY host").await;
    assert_eq!(serde_json::json!(rows), serde_json::json!([["a"], ["b"], ["d"]]));
    varve.stop().await;
}

#[tokio::test]
async fn both_versions_and_both_prefixes_write_the_same_table() {
    let varve = Varve::start().await;
    for (n, path) in [
        "/write?db=public&precision=s",
        "/api/v2/write?bucket=public&precision=s",
        "/v1/influxdb/write?db=public&precision=s",
        "/v1/influxdb/api/v2/write?bucket=public&precision=s",
    ]
    .iter()
    .enumerate()
    {
        let (status, text) = varve.write(path, format!("m,host=a v={n}i {}", n + 1)).await;
        assert_eq!(status, 204, "{path}: {text}");
    }
    let rows = varve.rows("SELECT v, CAST(\"time\" AS BIGINT) FROM m ORDER BY v").await;
    let expected = (0..4i64).map(|n| serde_json::json!([n, (n + 1) * 1_000_000_000])).collect::<Vec<_>>();
    assert_eq!(rows, expected);
    varve.stop().await;
}

#[tokio::test]
async fn an_unknown_database_is_named() {
    let varve = Varve::start().await;
    let (status, text) = varve.write("/write?db=nope", "m v=1 1").await;
    assert_eq!((status, text.trim()), (404, r#"{"error":"database not found: \"nope\""}"#));
    varve.stop().await;
}

#[tokio::test]
async fn timestamps_at_the_ends_of_i64_come_back_or_are_refused_by_name() {
    let varve = Varve::start().await;
    // The far past is taken; InfluxDB's own bounds and the future are not.
    let body = "e v=1i -9223372036854775806\ne v=2i 9223372036854775806\ne v=3i 9223372036854775807\n";
    let (status, text) = varve.write("/write?db=public", body).await;
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("time outside range"), "{text}");
    let rows = varve.rows("SELECT CAST(\"time\" AS BIGINT) FROM e ORDER BY v").await;
    assert_eq!(serde_json::json!(rows), serde_json::json!([[-9_223_372_036_854_775_806_i64]]));
    varve.stop().await;
}

#[tokio::test]
async fn the_same_idempotency_key_stores_once_in_an_append_table() {
    let varve = Varve::start().await;
    varve.run("CREATE TABLE once (t TIMESTAMP(9) TIME INDEX, v BIGINT) WITH (append_mode = 'true')").await;
    for _ in 0..3 {
        let request =
            varve.http.post(varve.url("/write?db=public")).header("Idempotency-Key", "k1").body("once v=1i 1");
        assert_eq!(request.send().await.expect("a reply").status().as_u16(), 204);
    }
    assert_eq!(varve.rows("SELECT count(*) FROM once").await[0][0], 1);
    varve.stop().await;
}

#[tokio::test]
async fn a_repeated_body_stores_once_though_its_rows_have_no_timestamp() {
    let varve = Varve::start().await;
    for regions in [1, 4] {
        let table = format!("once{regions}");
        let create = format!(
            "CREATE TABLE {table} (host STRING PRIMARY KEY, t TIMESTAMP(9) TIME INDEX, v BIGINT)
             WITH (append_mode = 'true', regions = {regions})"
        );
        varve.run(&create).await;
        let body = ["a", "b", "c", "d"].map(|host| format!("{table},host={host} v=1i\n")).concat();
        let write = async |key: &str, path: &str, body: String| {
            let request = varve.http.post(varve.url(path)).header("Idempotency-Key", key).body(body);
            assert_eq!(request.send().await.expect("a reply").status().as_u16(), 204);
            varve.rows(&format!("SELECT count(*) FROM {table}")).await[0][0].as_u64().expect("a count")
        };
        assert_eq!(write("k1", "/write?db=public", body.clone()).await, 4);
        assert_eq!(write("k1", "/write?db=public", body.clone()).await, 4);
        assert_eq!(write("k1", "/api/v2/write?bucket=public", body.clone()).await, 4, "the same by the other route");
        varve.run(&format!("ADMIN flush_table('{table}')")).await;
        assert_eq!(write("k1", "/write?db=public", body.clone()).await, 4, "remembered beyond the log");
        assert_eq!(write("k1", "/write?db=public&u=ann", body.clone()).await, 8, "another user's key");
        assert_eq!(write("k1", "/write?db=public&precision=s", body.clone()).await, 12, "read in another way");
        assert_eq!(write("k1", "/write?db=public", format!("{table},host=a v=2i")).await, 13, "another body");
        assert_eq!(write("k2", "/write?db=public", body).await, 17);
    }
    varve.stop().await;
}

#[tokio::test]
async fn an_insert_under_a_key_stores_once_and_each_statement_of_its_text_counts() {
    let varve = Varve::start().await;
    varve
        .run("CREATE TABLE once (host STRING PRIMARY KEY, t TIMESTAMP(9) TIME INDEX, v BIGINT) WITH (append_mode = 'true', regions = 4)")
        .await;
    let insert = async |key: &str, text: &str| {
        let reply = varve.request("public", text).header("Idempotency-Key", key).send().await.expect("a reply");
        let (status, answer) = (reply.status().as_u16(), reply.text().await.expect("a body"));
        assert_eq!(status, 200, "{text}: {answer}");
        varve.rows("SELECT count(*) FROM once").await[0][0].as_u64().expect("a count")
    };
    let values = "INSERT INTO once VALUES ('a', now(), 1), ('b', now(), 2)";
    assert_eq!(insert("k", values).await, 2);
    assert_eq!(insert("k", values).await, 2);
    assert_eq!(insert("k", "INSERT INTO once VALUES ('a', now(), 3)").await, 3, "another text");
    let select = "INSERT INTO once SELECT host, t, v + 10 FROM once WHERE v < 3";
    assert_eq!(insert("k", select).await, 5);
    assert_eq!(insert("k", select).await, 5);
    let twice = format!("{values}; {values}");
    assert_eq!(insert("k", &twice).await, 9, "the same statement twice in one text is meant twice");
    assert_eq!(insert("k", &twice).await, 9);
    assert_eq!(insert("l", values).await, 11);
    varve.stop().await;
}

#[tokio::test]
async fn ten_thousand_columns_are_refused_and_the_server_goes_on() {
    let varve = Varve::start().await;
    let fields = (0..10_000).map(|n| format!("f{n}=1i")).collect::<Vec<_>>().join(",");
    let (status, text) = varve.write("/write?db=public", format!("wide {fields} 1\nnarrow v=1 1\n")).await;
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("1000 columns"), "{text}");
    assert_eq!(varve.rows("SELECT count(*) FROM narrow").await[0][0], 1);
    varve.stop().await;
}
