//! Small parts of answers: request ids, JSON bodies, header texts.

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;

#[cfg(test)]
mod tests;

/// Seconds a client shall wait before it tries again.
const RETRY_AFTER_SECONDS: u64 = 1;
/// Longest request id taken from a client.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The request id the client sent, if it is short visible ASCII; else the id of the trace that the request is part of.
pub fn request_id(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("x-request-id").or_else(|| headers.get("request-id"));
    let value = value.and_then(|value| value.to_str().ok()).filter(|value| {
        !value.is_empty() && value.len() <= REQUEST_ID_BYTES_MAX && value.bytes().all(|byte| byte.is_ascii_graphic())
    });
    value.or_else(|| trace(headers).map(|(_, trace)| trace)).map(str::to_owned)
}

/// The W3C trace context the client sent, and the id of its trace; `None` for one that is malformed.
pub fn trace(headers: &HeaderMap) -> Option<(&str, &str)> {
    let context = headers.get("traceparent")?.to_str().ok()?;
    let parts = context.split('-').collect::<Vec<_>>();
    let [version, trace, span, flags]: [&str; 4] = parts.get(..4)?.try_into().ok()?;
    let is_hex = |(text, len): (&str, usize)| {
        text.len() == len && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_id = |text: &str| text.bytes().any(|byte| byte != b'0');
    // Later versions may append parts.
    let is_known = version != "ff" && (version != "00" || parts.len() == 4) && context.len() <= REQUEST_ID_BYTES_MAX;
    let is_whole = [(version, 2), (trace, 32), (span, 16), (flags, 2)].into_iter().all(is_hex);
    (is_known && is_whole && is_id(trace) && is_id(span)).then_some((context, trace))
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A JSON answer that ends with LF, as InfluxDB's do.
pub fn json(status: StatusCode, value: &Value) -> Response {
    text(status, "application/json", format!("{value}\n"))
}

/// An answer of a content type.
pub fn text(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Asks the client to try again later.
pub fn retry_later(response: &mut Response) {
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
}

/// A text as a header's value: control characters become spaces, and `bytes_max` bytes are kept.
pub fn header_text(text: &str, bytes_max: usize) -> HeaderValue {
    let bytes = text.bytes().take(bytes_max).map(|byte| if byte < b' ' || byte == 0x7f { b' ' } else { byte });
    HeaderValue::from_bytes(&bytes.collect::<Vec<_>>()).unwrap_or_else(|_| HeaderValue::from_static("error"))
}
