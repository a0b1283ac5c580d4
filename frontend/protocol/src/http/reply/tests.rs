use super::*;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| ((*name).parse().expect("name"), value.parse().expect("value"))).collect()
}

#[test]
fn a_trace_names_the_request_unless_the_client_did() {
    let context = format!("00-{TRACE}-b7ad6b7169203331-01");
    let both = headers(&[("traceparent", &context), ("x-request-id", "mine")]);
    assert_eq!(request_id(&both).as_deref(), Some("mine"));
    assert_eq!(trace(&both), Some((context.as_str(), TRACE)));
    let unusable = headers(&[("traceparent", &context), ("x-request-id", "not visible ASCII only")]);
    assert_eq!(request_id(&unusable).as_deref(), Some(TRACE));
    let later = format!("01-{TRACE}-b7ad6b7169203331-01-more");
    assert_eq!(request_id(&headers(&[("traceparent", &later)])).as_deref(), Some(TRACE));
}

#[test]
fn a_malformed_trace_context_is_none() {
    for context in [
        String::new(),
        TRACE.to_owned(),
        format!("00-{TRACE}-b7ad6b7169203331"),
        format!("00-{TRACE}-b7ad6b7169203331-01-more"),
        format!("ff-{TRACE}-b7ad6b7169203331-01"),
        format!("00-{}-b7ad6b7169203331-01", TRACE.to_uppercase()),
        format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
        format!("00-{TRACE}-{}-01", "0".repeat(16)),
        format!("01-{TRACE}-b7ad6b7169203331-01-{}", "x".repeat(200)),
    ] {
        let headers = headers(&[("traceparent", &context)]);
        assert_eq!((trace(&headers), request_id(&headers)), (None, None), "{context}");
    }
}
