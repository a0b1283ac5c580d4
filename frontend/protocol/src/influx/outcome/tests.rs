use varve_model::schema::StoredType;

use super::*;
use crate::influx::decode::{Times, decode};

fn decoded(body: &str) -> Decoded {
    decode(body.as_bytes(), Times { scale_nanos: 1, arrival_nanos: 1 }, 0)
}

fn refused(causes: &[(u32, RefusedCause)]) -> Written {
    Written {
        rows: 0,
        refused: causes.iter().map(|(origin, cause)| Refused { origin: *origin, cause: cause.clone() }).collect(),
    }
}

fn conflict() -> RefusedCause {
    RefusedCause::FieldType {
        table: "cpu".to_owned(),
        field: "usage".to_owned(),
        input: StoredType::String,
        existing: StoredType::F64,
    }
}

const CONFLICT: &str =
    "field type conflict: input field \"usage\" on measurement \"cpu\" is type string, already exists as type float";

#[test]
fn every_row_of_the_outcome_table_has_its_text() {
    let good = "m v=1 1";
    let bad = "m v= 1";
    let unparsable = "unable to parse 'm v= 1': missing field value";
    // Body, rows the database refuses, status of version 2, text.
    type Case = (String, Vec<(u32, RefusedCause)>, u16, String);
    let cases: Vec<Case> = vec![
        (bad.to_owned(), vec![], 400, unparsable.to_owned()),
        (format!("{bad}\nx"), vec![], 400, format!("{unparsable}\nunable to parse 'x': missing fields")),
        (format!("{good}\n{bad}"), vec![], 400, format!("partial write: {unparsable} dropped=0")),
        (good.to_owned(), vec![(0, conflict())], 422, format!("partial write: {CONFLICT} dropped=1")),
        (
            format!("{good}\n{bad}"),
            vec![(0, conflict())],
            422,
            format!("partial write: {unparsable}\n{CONFLICT} dropped=1"),
        ),
        (
            good.to_owned(),
            vec![(0, RefusedCause::Expired), (1, RefusedCause::Expired)],
            422,
            "partial write: points beyond retention policy dropped=2".to_owned(),
        ),
        (
            good.to_owned(),
            vec![(0, RefusedCause::Expired), (1, conflict())],
            422,
            format!("partial write: {CONFLICT}\npoints beyond retention policy dropped=2"),
        ),
        (
            good.to_owned(),
            vec![(0, RefusedCause::Rule("too wide".to_owned()))],
            422,
            "partial write: too wide dropped=1".to_owned(),
        ),
        (
            "m time=1".to_owned(),
            vec![],
            422,
            "partial write: invalid field name: input field \"time\" on measurement \"m\" is invalid dropped=1"
                .to_owned(),
        ),
    ];
    for (body, causes, status_v2, text) in cases {
        let mut decoded = decoded(&body);
        let stored = std::mem::take(&mut decoded.rows).len();
        let v1 = of_write(Api::V1, &decoded, stored, &refused(&causes)).expect("a failure");
        assert_eq!((v1.status, v1.message.as_str()), (400, text.as_str()));
        let v2 = of_write(Api::V2, &decoded, stored, &refused(&causes)).expect("a failure");
        let (code, text_v2) = match status_v2 {
            422 => ("unprocessable entity", format!("failure writing points to database: {text}")),
            _ => ("invalid", text),
        };
        assert_eq!((v2.status, v2.code, v2.message), (status_v2, code, text_v2));
    }
    assert_eq!(of_write(Api::V1, &decoded(good), 1, &Written::default()), None);
    assert_eq!(of_write(Api::V2, &decoded("\n# nothing\n"), 0, &Written::default()), None);
}

#[test]
fn the_first_bad_point_of_the_request_gives_the_reason() {
    let mut decoded = decoded("m v=1 1\nm v=2 2\nm time=1");
    let stored = std::mem::take(&mut decoded.rows).len();
    let found = of_write(Api::V1, &decoded, stored, &refused(&[(0, conflict())])).expect("a failure");
    assert_eq!(found.message, format!("partial write: {CONFLICT} dropped=2"));
}

#[test]
fn a_hopeless_body_gets_a_bounded_text() {
    let decoded = decoded(&format!("{}\n", "x".repeat(500)).repeat(3000));
    let found = of_write(Api::V1, &decoded, 0, &Written::default()).expect("a failure");
    assert!(found.message.len() < 80_000, "{}", found.message.len());
    assert!(found.message.ends_with("more lines"), "{}", &found.message[found.message.len() - 40..]);
}

#[test]
fn every_kind_and_reason_has_its_status() {
    use ErrorKind as K;
    use Reason as R;
    let cases = [
        (K::InvalidRequest, R::General, (400, "invalid"), (400, "invalid"), false),
        (K::InvalidRequest, R::BadValue, (400, "invalid"), (400, "invalid"), false),
        (K::InvalidRequest, R::Unsupported, (400, "invalid"), (400, "invalid"), false),
        (K::InvalidRequest, R::KeyReused, (400, "invalid"), (400, "invalid"), false),
        (K::InvalidRequest, R::TooLarge, (413, "request too large"), (413, "request too large"), false),
        (K::InvalidRequest, R::Cardinality, (400, "invalid"), (422, "unprocessable entity"), false),
        (K::NotFound, R::Database, (404, "not found"), (404, "not found"), false),
        (K::NotFound, R::Table, (404, "not found"), (404, "not found"), false),
        (K::AlreadyExists, R::Database, (409, "conflict"), (409, "conflict"), false),
        (K::Unauthenticated, R::General, (401, "unauthorized"), (401, "unauthorized"), false),
        (K::PermissionDenied, R::General, (403, "forbidden"), (403, "forbidden"), false),
        (K::Busy, R::Rate, (503, "unavailable"), (429, "too many requests"), true),
        (K::Busy, R::Overload, (503, "unavailable"), (503, "unavailable"), true),
        (K::Unavailable, R::General, (503, "unavailable"), (503, "unavailable"), true),
        (K::Unavailable, R::DiskFull, (503, "unavailable"), (503, "unavailable"), true),
        (K::StaleRoute, R::General, (503, "unavailable"), (503, "unavailable"), true),
        (K::Fenced, R::General, (503, "unavailable"), (503, "unavailable"), true),
        (K::Timeout, R::General, (503, "unavailable"), (503, "unavailable"), true),
        (K::Timeout, R::Cancelled, (499, "canceled"), (499, "canceled"), false),
        (K::Corrupt, R::General, (500, "internal error"), (500, "internal error"), false),
        (K::Internal, R::General, (500, "internal error"), (500, "internal error"), false),
    ];
    for (kind, reason, v1, v2, retry) in cases {
        let error = Error::new(kind, "text").with_reason(reason);
        let found = of_error(Api::V1, &error);
        assert_eq!((found.status, found.code), v1, "v1 {kind:?}/{reason:?}");
        assert_eq!(found.retry_later, retry, "v1 {kind:?}/{reason:?}");
        let found = of_error(Api::V2, &error);
        assert_eq!((found.status, found.code), v2, "v2 {kind:?}/{reason:?}");
        assert!(
            kind.retry() == varve_model::error::Retry::Never || found.status >= 429,
            "{kind:?} must not look permanent"
        );
    }
}
