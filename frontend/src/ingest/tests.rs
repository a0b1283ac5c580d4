use varve_model::batch::{Values, Vector};
use varve_model::id::Token;
use varve_model::rows::{Rows, TableRows};
use varve_model::schema::{ColumnRole, LogicalType, StoredType};
use varve_model::series::encode_key;
use varve_model::time::TimeUnit;
use varve_model::{Error, ErrorKind, Reason};
use varve_proto::datanode::{RegionWrite, WriteRequest};
use varve_protocol::gateway::{Gateway, Refused, RefusedCause, Written};
use varve_protocol::session::Session;

use super::token::of_kept;
use crate::fake::Cluster;

const NOW_S: i64 = 1_700_000_000;

/// Rows of `m` tagged by host: timestamps in seconds and one f64 field.
fn rows(hosts: &[&str], ts: &[i64], field: &str, values: &[f64]) -> TableRows {
    let mut rows = TableRows::new("m", TimeUnit::Second);
    rows.tags = vec!["host".into()];
    let mut known = Vec::<&str>::new();
    for host in hosts {
        let slot = known.iter().position(|known| known == host).unwrap_or_else(|| {
            known.push(host);
            rows.keys.push_with(|bytes| encode_key(&mut [(b"host", host.as_bytes())], bytes)) as usize
        });
        rows.series.push(slot as u32);
    }
    rows.ts = ts.to_vec();
    rows.origin = (0..ts.len() as u32).collect();
    let at = rows.field_mut(field, StoredType::F64);
    rows.fields[at].vector = Vector { values: Values::F64(values.to_vec()), validity: None };
    rows
}

fn with_ints(mut rows: TableRows, field: &str, values: &[Option<i64>]) -> TableRows {
    let mut vector = Vector::new(StoredType::I64);
    for value in values {
        match (value, &mut vector.values) {
            (Some(value), Values::I64(values)) => {
                values.push(*value);
                vector.mark_valid();
            }
            _ => vector.extend_null(1),
        }
    }
    let at = rows.field_mut(field, StoredType::I64);
    rows.fields[at].vector = vector;
    rows
}

async fn write(cluster: &Cluster, tables: Vec<TableRows>) -> Result<Written, Error> {
    cluster.frontend.write(&cluster.session, Rows { tables }).await
}

#[tokio::test]
async fn tables_and_columns_appear_by_themselves() {
    let cluster = Cluster::start(1).await;
    let first = rows(&["a", "b"], &[NOW_S, NOW_S], "usage", &[1.0, 2.0]);
    assert_eq!(write(&cluster, vec![first]).await.unwrap(), Written { rows: 2, refused: vec![] });
    let wider = with_ints(rows(&["a"], &[NOW_S + 1], "usage", &[3.0]), "count", &[Some(7)]);
    assert_eq!(write(&cluster, vec![wider]).await.unwrap().rows, 1);
    assert_eq!(
        cluster.rows("DESC m").await,
        [
            "host|String|PRI|YES||TAG",
            "time|TimestampNanosecond|PRI|NO||TIMESTAMP",
            "usage|Float64||YES||FIELD",
            "count|Int64||YES||FIELD"
        ]
    );
    assert!(cluster.rows("SHOW CREATE TABLE m").await[0].contains("merge_mode = 'last_non_null'"));
    assert_eq!(cluster.rows("SELECT host, usage, count FROM m ORDER BY 2").await, ["a|1.0|", "b|2.0|", "a|3.0|7"]);
}

#[tokio::test]
async fn conflicting_rows_are_refused_and_the_others_kept() {
    let cluster = Cluster::start(1).await;
    write(&cluster, vec![rows(&["a"], &[NOW_S], "usage", &[1.0])]).await.unwrap();
    let mut mixed =
        with_ints(rows(&["a", "b"], &[NOW_S + 1, NOW_S + 2], "usage", &[2.0, 0.0]), "usage", &[None, Some(5)]);
    mixed.fields[0].vector = {
        let mut vector = Vector { values: Values::F64(vec![2.0]), validity: None };
        vector.extend_null(1);
        vector
    };
    let written = write(&cluster, vec![mixed]).await.unwrap();
    assert_eq!((written.rows, written.refused.len(), written.refused[0].origin), (1, 1, 1));
    assert_eq!(
        written.refused[0].cause,
        RefusedCause::FieldType {
            table: "m".into(),
            field: "usage".into(),
            input: StoredType::I64,
            existing: StoredType::F64
        }
    );
    assert_eq!(cluster.rows("SELECT count(*) FROM m").await, ["2"]);
}

#[tokio::test]
async fn the_first_type_in_a_request_is_the_type_of_a_new_column() {
    let cluster = Cluster::start(1).await;
    let mut first = rows(&["a", "a"], &[NOW_S, NOW_S + 1], "x", &[1.0, 0.0]);
    first.fields[0].vector = {
        let mut vector = Vector { values: Values::F64(vec![1.0]), validity: None };
        vector.extend_null(1);
        vector
    };
    let written = write(&cluster, vec![with_ints(first, "x", &[None, Some(1)])]).await.unwrap();
    assert_eq!((written.rows, written.refused.len()), (1, 1));
    assert!(matches!(written.refused[0].cause, RefusedCause::FieldType { existing: StoredType::F64, .. }));
}

#[tokio::test]
async fn tag_and_field_are_one_name_space() {
    let cluster = Cluster::start(1).await;
    write(&cluster, vec![rows(&["a"], &[NOW_S], "usage", &[1.0])]).await.unwrap();
    let as_field = with_ints(rows(&["a", "b"], &[NOW_S, NOW_S], "usage", &[1.0, 2.0]), "host", &[Some(1), None]);
    let written = write(&cluster, vec![as_field]).await.unwrap();
    assert_eq!((written.rows, written.refused.len()), (1, 1));
    assert!(matches!(&written.refused[0].cause, RefusedCause::Role { existing: "tag", input: "field", .. }));
    let time = with_ints(rows(&["a"], &[NOW_S], "usage", &[1.0]), "time", &[Some(1)]);
    let written = write(&cluster, vec![time]).await.unwrap();
    assert!(matches!(&written.refused[0].cause, RefusedCause::Role { existing: "time index", .. }));
}

#[tokio::test]
async fn timestamps_are_converted_and_checked() {
    let cluster = Cluster::start(1).await;
    cluster
        .exec("CREATE TABLE m (host STRING PRIMARY KEY, at TIMESTAMP(3) TIME INDEX, usage DOUBLE) WITH (ttl = '1d')")
        .await;
    let now = varve_service::clock::Clock::wall_nanos(&varve_service::clock::SystemClock) / 1_000_000_000;
    let ts = [now, now - 90_000, now + 100_000, i64::MAX, i64::MIN];
    let written = write(&cluster, vec![rows(&["a"; 5], &ts, "usage", &[1.0; 5])]).await.unwrap();
    assert_eq!(written.rows, 1);
    let causes = written.refused.iter().map(|refused| (refused.origin, &refused.cause)).collect::<Vec<_>>();
    assert!(matches!(
        causes[..],
        [
            (1, RefusedCause::Expired),
            (2, RefusedCause::Rule(_)),
            (3, RefusedCause::Rule(_)),
            (4, RefusedCause::Rule(_))
        ]
    ));
    let ms = now * 1000;
    assert_eq!(cluster.rows(&format!("SELECT usage FROM m WHERE at = {ms}")).await, ["1.0"]);
}

#[tokio::test]
async fn narrow_types_defaults_and_not_null_hold_for_protocols_too() {
    let cluster = Cluster::start(1).await;
    cluster
        .exec(
            "CREATE TABLE m (host STRING PRIMARY KEY, time TIMESTAMP(9) TIME INDEX, n TINYINT, usage FLOAT,
             d INT DEFAULT 9, must BIGINT NOT NULL)",
        )
        .await;
    let batch = with_ints(rows(&["a"; 3], &[NOW_S; 3], "usage", &[0.1; 3]), "n", &[Some(1), Some(300), Some(2)]);
    let batch = with_ints(batch, "must", &[Some(1), Some(1), None]);
    let written = write(&cluster, vec![batch]).await.unwrap();
    assert_eq!(written.rows, 1);
    assert_eq!(written.refused.iter().map(|refused| refused.origin).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(cluster.rows("SELECT n, usage, d, must FROM m").await, ["1|0.1|9|1"]);
}

#[tokio::test]
async fn bad_names_refuse_their_rows_only() {
    let cluster = Cluster::start(1).await;
    let reserved = with_ints(rows(&["a", "b"], &[NOW_S; 2], "usage", &[1.0; 2]), "__sid", &[Some(1), None]);
    let mut long = rows(&["a"], &[NOW_S], "usage", &[1.0]);
    long.table = "x".repeat(300);
    let written = write(&cluster, vec![reserved, long]).await.unwrap();
    assert_eq!((written.rows, written.refused.len()), (1, 2));
    assert_eq!(cluster.rows("SHOW TABLES").await, ["m"]);
}

#[tokio::test]
async fn an_unknown_database_is_an_error_of_the_whole_request() {
    let cluster = Cluster::start(1).await;
    let session = Session { database: "nope".into(), ..cluster.session.clone() };
    let error = cluster.frontend.write(&session, Rows::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.reason()), (ErrorKind::NotFound, Reason::Database));
}

#[tokio::test]
async fn rows_go_to_the_region_of_their_series() {
    let cluster = Cluster::start(3).await;
    cluster
        .exec("CREATE TABLE m (host STRING PRIMARY KEY, time TIMESTAMP(9) TIME INDEX, usage DOUBLE) WITH (regions = 6)")
        .await;
    let hosts = (0..60).map(|at| format!("h{}", at % 20)).collect::<Vec<_>>();
    let hosts = hosts.iter().map(String::as_str).collect::<Vec<_>>();
    let ts = (0..60).map(|at| NOW_S + at).collect::<Vec<_>>();
    let values = (0..60).map(|at| at as f64).collect::<Vec<_>>();
    assert_eq!(write(&cluster, vec![rows(&hosts, &ts, "usage", &values)]).await.unwrap().rows, 60);
    let mut seen = std::collections::BTreeMap::new();
    for write in
        cluster.nodes.iter().flat_map(|node| node.requests.lock()[..].to_vec()).flat_map(|request| request.writes)
    {
        let RegionWrite::Insert(batch) = write else { panic!("not an insert") };
        batch.check().unwrap();
        assert!(batch.keys.len() <= batch.rows(), "only keys in use travel");
        for key in batch.keys.iter() {
            assert_eq!(seen.insert(key.to_vec(), batch.region), None, "a series lies in one region");
        }
    }
    assert_eq!(seen.len(), 20);
    assert_eq!(cluster.rows("SELECT sum(usage) FROM m").await, ["1770.0"]);
}

#[tokio::test]
async fn large_requests_are_cut_before_routing_and_each_chunk_has_its_token() {
    let cluster = Cluster::start(1).await;
    let count = 50_001;
    let ts = (0..count).map(|at| NOW_S + at).collect::<Vec<_>>();
    let batch = rows(&vec!["a"; count as usize], &ts, "usage", &vec![1.0; count as usize]);
    let session = Session { idempotency_key: Some("k".into()), body: Some(7), ..cluster.session.clone() };
    for _ in 0..2 {
        let request = Rows { tables: vec![batch.clone()] };
        assert_eq!(cluster.frontend.write(&session, request).await.unwrap().rows, count as u64);
    }
    let tokens = |at: usize| tokens_of(&cluster.nodes[0].requests.lock()[at]);
    assert_eq!(tokens(0).len(), 2);
    assert_ne!(tokens(0)[0], tokens(0)[1]);
    assert_eq!(tokens(0), tokens(1), "a repeated request has the same tokens");
}

/// The tokens of each part of a request.
pub(crate) fn tokens_of(request: &WriteRequest) -> Vec<Vec<Token>> {
    let tokens = |write: &RegionWrite| match write {
        RegionWrite::Insert(batch) => batch.tokens.clone(),
        RegionWrite::Delete(_) => panic!("not an insert"),
    };
    request.writes.iter().map(tokens).collect()
}

#[tokio::test]
async fn a_retry_has_its_first_tries_tokens_though_it_comes_later_and_by_other_routes() {
    let cluster = Cluster::start(2).await;
    cluster
        .exec("CREATE TABLE m (host STRING PRIMARY KEY, time TIMESTAMP(9) TIME INDEX, usage DOUBLE) WITH (regions = 4)")
        .await;
    let key = |key: &str, body: u128| {
        let idempotency_key = Some(key.to_owned());
        Session { idempotency_key, body: Some(body), ..cluster.session.clone() }
    };
    let hosts = ["a", "b", "c", "d", "e", "f"];
    // Rows without a timestamp: each try has the time of its own arrival.
    let tokens = async |session: Session, arrival: i64| {
        let rows = rows(&hosts, &[arrival; 6], "usage", &[1.0; 6]);
        assert_eq!(cluster.frontend.write(&session, Rows { tables: vec![rows] }).await.unwrap().rows, 6);
        let requests = cluster.nodes.iter().flat_map(|node| std::mem::take(&mut *node.requests.lock()));
        let mut tokens = requests.flat_map(|request| tokens_of(&request)).flatten().collect::<Vec<_>>();
        tokens.dedup();
        assert_eq!(tokens.len(), 1, "all regions' parts of a chunk carry its token");
        tokens[0]
    };
    let first = tokens(key("k", 7), NOW_S).await;
    assert_eq!(first, tokens(key("k", 7), NOW_S + 5).await);
    cluster.metasrv.move_regions("m", true);
    assert_eq!(first, tokens(key("k", 7), NOW_S + 9).await);
    assert_ne!(first, tokens(key("k", 8), NOW_S).await, "another body is another request");
    assert_ne!(first, tokens(key("l", 7), NOW_S).await);
    assert_ne!(first, tokens(Session { user: "other".into(), ..key("k", 7) }, NOW_S).await);
    let session = Session { body: None, ..key("k", 7) };
    assert_eq!(cluster.frontend.write(&session, Rows::default()).await.unwrap_err().kind(), ErrorKind::Internal);
}

#[test]
fn a_try_of_which_more_rows_fit_is_no_repeat() {
    let refused = |origin, cause| Refused { origin, cause };
    let rule = |origin| refused(origin, RefusedCause::Rule("too far ahead".into()));
    let token = Token::new(9, 3);
    assert_eq!(of_kept(token, &[]), token);
    assert_eq!(of_kept(token, &[refused(4, RefusedCause::Expired)]), token, "a row grew too old between two tries");
    let some = of_kept(token, &[rule(1), rule(2)]);
    assert_ne!(some, token);
    assert_eq!(some, of_kept(token, &[rule(2), refused(4, RefusedCause::Expired), rule(1)]));
    assert_ne!(some, of_kept(token, &[rule(1)]));
    assert_ne!(some, of_kept(Token::new(9, 4), &[rule(1), rule(2)]));
}

#[tokio::test]
async fn a_stale_route_is_refreshed_and_only_the_refused_part_sent_again() {
    let cluster = Cluster::start(2).await;
    cluster.exec("CREATE TABLE m (host STRING PRIMARY KEY, time TIMESTAMP(9) TIME INDEX, usage DOUBLE)").await;
    cluster.metasrv.move_regions("m", false);
    let told = async {
        while cluster.nodes[0].requests.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        cluster.metasrv.tell_table("m");
    };
    let (written, ()) = tokio::join!(write(&cluster, vec![rows(&["a"], &[NOW_S], "usage", &[1.0])]), told);
    assert_eq!(written.unwrap().rows, 1);
    assert_eq!(cluster.nodes[1].requests.lock().len(), 1);
}

#[tokio::test]
async fn a_failing_part_names_its_region() {
    let cluster = Cluster::start(1).await;
    cluster.exec("CREATE TABLE m (host STRING PRIMARY KEY, time TIMESTAMP(9) TIME INDEX, usage DOUBLE)").await;
    cluster.nodes[0].failures.lock().push(Error::unavailable("the log is away"));
    let error = write(&cluster, vec![rows(&["a"], &[NOW_S], "usage", &[1.0])]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().starts_with("write to region ") && error.to_string().contains("of table 'm'"), "{error}");
    let column = cluster.metasrv.table(varve_model::id::TableId(1025)).schema.column("host").unwrap().clone();
    assert_eq!((column.role, column.logical), (ColumnRole::Tag, LogicalType::String));
}
