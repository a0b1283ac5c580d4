use super::*;

#[test]
fn a_filter_that_cannot_be_read_is_refused_by_name() {
    for text in ["info", "warn,varve_engine=debug", "varve_engine[flush]=trace"] {
        filter(text).expect(text);
    }
    for text in ["info,varve_engine=loud", "a=b=c", "varve[="] {
        let error = filter(text).expect_err(text);
        assert!(error.message().starts_with(&format!("log.filter '{text}'")), "{error}");
        assert_eq!(error.reason(), Reason::BadValue);
    }
}
