//! Small parts of answers: request ids, JSON bodies, header texts.

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;

/// Seconds a client shall wait before it tries again.
const RETRY_AFTER_SECONDS: u64 = 1;
/// Longest request id taken from a client.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The request id the client sent, if it is short visible ASCII.
pub fn request_id(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("x-request-id").or_else(|| headers.get("request-id"))?.to_str().ok()?;
    let good =
        !value.is_empty() && value.len() <= REQUEST_ID_BYTES_MAX && value.bytes().all(|byte| byte.is_ascii_graphic());
    good.then(|| value.to_owned())
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
