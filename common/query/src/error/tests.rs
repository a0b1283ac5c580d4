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

#[test]
fn a_call_with_wrong_types_is_not_called_a_bug() {
    let text = "Internal error: Function 'sum' failed. This issue was likely caused by a bug in DataFusion's code. \
                Please help us to resolve this by filing a bug report in our issue tracker: \
                https://github.com/apache/datafusion/issues. No function matches the given name and argument types \
                'sum(Utf8View)'. You might need to add explicit type casts.\n\tCandidate functions:\n\tsum(Int64)";
    let error = from_datafusion(DataFusionError::Plan(text.to_owned()));
    assert_eq!(error.message(), "No function matches the given name and argument types 'sum(Utf8View)'.");
    assert_eq!(error.reason(), Reason::Plan);
}
