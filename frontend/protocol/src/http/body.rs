//! Reads a request's body with a limit, before anything is made of it.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;
use varve_model::budget::Charge;
use varve_model::limits::{BODY_BYTES_MAX, BODY_IDLE_TIMEOUT};
use varve_model::{Error, ErrorKind, Reason, Result};

use super::App;

/// A body as sent, and what it is charged with.
#[derive(Debug)]
pub struct Received {
    /// The bytes.
    pub bytes: Bytes,
    /// Given back on drop.
    pub charge: Charge,
}

/// The error for a body beyond a limit.
pub fn too_large(message: impl Into<String>) -> Error {
    Error::invalid(message).with_reason(Reason::TooLarge)
}

/// Reads the whole body.
///
/// Errors: `InvalidRequest/TooLarge` as soon as the announced or the read
/// length is over the limit or can never be held; `Busy` when the memory account is full;
/// `Timeout` when the client stops sending; `InvalidRequest` when it breaks off.
pub async fn read(app: &App, headers: &HeaderMap, mut body: Body) -> Result<Received> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let over = || too_large(format!("the body is longer than {BODY_BYTES_MAX} bytes"));
    if announced.is_some_and(|bytes| bytes > BODY_BYTES_MAX) {
        return Err(over());
    }
    let mut charge = app.setup.memory.admit(announced.unwrap_or(0) as u64)?;
    let mut whole = Bytes::new();
    let mut joined = BytesMut::new();
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = app.setup.clock.sleep(BODY_IDLE_TIMEOUT) => {
                return Err(Error::new(ErrorKind::Timeout, "the client stopped sending the body"));
            }
        };
        let Some(frame) = frame else { break };
        let frame =
            frame.map_err(|error| Error::invalid("unexpected EOF").with_reason(Reason::BadValue).with_source(error))?;
        let Ok(data) = frame.into_data() else { continue };
        let len = whole.len() + joined.len() + data.len();
        if len > BODY_BYTES_MAX {
            return Err(over());
        }
        if len as u64 > charge.bytes() {
            charge.admit(len as u64 - charge.bytes())?;
        }
        if whole.is_empty() && joined.is_empty() {
            // Most small bodies come in one piece: no copy.
            whole = data;
        } else {
            if joined.is_empty() {
                joined.reserve(announced.unwrap_or(0).max(len));
                joined.extend_from_slice(&std::mem::take(&mut whole));
            }
            joined.extend_from_slice(&data);
        }
    }
    let bytes = if joined.is_empty() { whole } else { joined.freeze() };
    Ok(Received { bytes, charge })
}
