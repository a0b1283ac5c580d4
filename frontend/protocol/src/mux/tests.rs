use varve_model::{ErrorKind, Reason};

use crate::tests::mock::{Reply, Server};

/// Every route that reaches the database: method, path, body.
const ROUTES: [(&str, &str, &str); 12] = [
    ("POST", "/write?db=d", "m v=1"),
    ("POST", "/v1/influxdb/write?db=d", "m v=1"),
    ("POST", "/api/v2/write?bucket=d", "m v=1"),
    ("POST", "/v1/influxdb/api/v2/write?bucket=d", "m v=1"),
    ("GET", "/query?q=show+databases", ""),
    ("POST", "/v1/influxdb/query?q=create+database+x", ""),
    ("GET", "/api/v2/buckets", ""),
    ("GET", "/v1/influxdb/api/v2/buckets", ""),
    ("POST", "/api/v2/buckets", "{\"name\":\"x\"}"),
    ("POST", "/v1/influxdb/api/v2/buckets", "{\"name\":\"x\"}"),
    ("GET", "/v1/sql?sql=x", ""),
    ("POST", "/v1/sql?sql=x", ""),
];

/// The status a route gives an error, by the tables of its protocol.
fn expected(path: &str, kind: ErrorKind, reason: Reason) -> u16 {
    if path.contains("/query") {
        // Once parsed, errors stand inside the results.
        return 200;
    }
    match (kind, reason) {
        (ErrorKind::Busy, Reason::Rate) if path.contains("/write") && !path.contains("v2") => 503,
        (ErrorKind::Busy, Reason::Rate) => 429,
        (ErrorKind::Unavailable, _) => 503,
        (ErrorKind::Timeout, _) if path.contains("/sql") => 504,
        (ErrorKind::Timeout, _) => 503,
        (ErrorKind::PermissionDenied, _) => 403,
        (ErrorKind::InvalidRequest, _) => 400,
        _ => 500,
    }
}

#[tokio::test]
async fn every_route_answers_errors_in_its_protocols_form() {
    let server = Server::start().await;
    let kinds = [
        (ErrorKind::Busy, Reason::Rate),
        (ErrorKind::Unavailable, Reason::General),
        (ErrorKind::Timeout, Reason::General),
        (ErrorKind::PermissionDenied, Reason::General),
        (ErrorKind::InvalidRequest, Reason::Syntax),
        (ErrorKind::Corrupt, Reason::General),
        (ErrorKind::Internal, Reason::General),
    ];
    for (kind, reason) in kinds {
        *server.mock.failure.lock() = Some((kind, reason));
        for (method, path, body) in ROUTES {
            let method = method.parse().expect("a method");
            let request = reqwest::Client::new().request(method, format!("{}{path}", server.url));
            let reply = Reply::of(request.body(body)).await;
            assert_eq!(reply.status, expected(path, kind, reason), "{path} {kind:?}");
            assert_eq!(reply.header("content-type"), "application/json", "{path}");
            let text = format!("mock {kind:?} {reason:?}");
            assert!(reply.json().to_string().contains(&text), "{path}: {}", reply.text());
            assert_eq!(reply.header("retry-after").is_empty(), !matches!(reply.status, 429 | 503), "{path} {kind:?}");
        }
    }
}
