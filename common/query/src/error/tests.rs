use std::sync::Arc;

use super::*;

#[test]
fn our_errors_keep_kind_and_reason_through_every_wrapper() {
    let ours = || Error::new(ErrorKind::StaleRoute, "region 1.0 moved").with_reason(Reason::Table).context("scan");
    let wrapped = [
        into_datafusion(ours()),
        DataFusionError::Shared(Arc::new(into_datafusion(ours()))),
        into_datafusion(ours()).context("above"),
        DataFusionError::ArrowError(Box::new(ArrowError::ExternalError(Box::new(into_datafusion(ours())))), None),
    ];
    for error in wrapped {
        let back = from_datafusion(error);
        assert_eq!((back.kind(), back.reason()), (ErrorKind::StaleRoute, Reason::Table));
        assert_eq!(back.to_string(), "scan: region 1.0 moved");
    }
}

#[test]
fn planning_errors_name_table_and_database() {
    let error = from_datafusion(DataFusionError::Plan("table 'varve.public.t' not found".into()));
    assert_eq!((error.kind(), error.reason()), (ErrorKind::NotFound, Reason::Table));
    let error = from_datafusion(DataFusionError::Plan("failed to resolve schema: nope".into()));
    assert_eq!((error.kind(), error.reason()), (ErrorKind::NotFound, Reason::Database));
    let error = from_datafusion(DataFusionError::ResourcesExhausted("pool".into()));
    assert_eq!(error.kind(), ErrorKind::Busy);
}
