//! `Call` <-> request metadata.
//!
//! | key | value |
//! |---|---|
//! | `varve-protocol` | version of the wire |
//! | `varve-request-bin` | request id |
//! | `varve-user-bin` | the user; absent for the system |
//! | `varve-timeout-ms` | time left; the callee counts from arrival |
//! | `traceparent` | W3C trace context |
//! | `varve-session` | a heartbeat's session, decimal |
//!
//! `grpc-timeout` is set a second later than the call's end: it guards against a
//! callee that hangs, while the callee's own answer says more than the guard's.

use std::time::Duration;

use tonic::Request;
use tonic::metadata::{MetadataMap, MetadataValue};
use varve_model::id::NodeEpoch;
use varve_model::{Error, Result};

use super::missing;
use crate::call::{Call, Principal};

/// How much later than the call the transport gives up.
const GUARD: Duration = Duration::from_secs(1);
/// Longest time a call may ask for: a day.
const TIMEOUT_MAX: Duration = Duration::from_hours(24);

const PROTOCOL: &str = "varve-protocol";
const REQUEST: &str = "varve-request-bin";
const USER: &str = "varve-user-bin";
const TIMEOUT: &str = "varve-timeout-ms";
const TRACE: &str = "traceparent";
const SESSION: &str = "varve-session";

/// A request that carries the call.
pub(crate) fn request<T>(call: &Call, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let timeout = call.timeout.min(TIMEOUT_MAX);
    request.set_timeout(timeout + GUARD);
    let metadata = request.metadata_mut();
    metadata.insert(PROTOCOL, MetadataValue::from(call.protocol_version));
    metadata.insert(TIMEOUT, MetadataValue::from(timeout.as_millis() as u64));
    metadata.insert_bin(REQUEST, MetadataValue::from_bytes(call.request_id.as_bytes()));
    if let Principal::User(user) = &call.principal {
        metadata.insert_bin(USER, MetadataValue::from_bytes(user.as_bytes()));
    }
    // A trace context that is no ASCII is none.
    if let Some(trace) = call.traceparent.as_ref().and_then(|trace| trace.parse().ok()) {
        metadata.insert(TRACE, trace);
    }
    request
}

/// The call a request carries. Errors: `InvalidRequest`, also for another protocol version.
pub(crate) fn call(metadata: &MetadataMap) -> Result<Call> {
    let number = |key: &str| {
        let text = metadata.get(key).and_then(|value| value.to_str().ok());
        text.and_then(|text| text.parse::<u64>().ok()).ok_or_else(|| missing(key))
    };
    let text = |key: &str| -> Result<Option<String>> {
        let Some(value) = metadata.get_bin(key) else { return Ok(None) };
        let bytes = value.to_bytes().map_err(|_| missing(key))?;
        String::from_utf8(bytes.to_vec()).map(Some).map_err(|_| missing(key))
    };
    let version = u32::try_from(number(PROTOCOL)?).map_err(|_| missing(PROTOCOL))?;
    let call = Call {
        request_id: text(REQUEST)?.ok_or_else(|| missing(REQUEST))?,
        timeout: Duration::from_millis(number(TIMEOUT)?).min(TIMEOUT_MAX),
        traceparent: metadata.get(TRACE).and_then(|trace| trace.to_str().ok()).map(str::to_owned),
        principal: text(USER)?.map_or(Principal::System, Principal::User),
        protocol_version: version,
    };
    call.check()?;
    Ok(call)
}

/// Names the session of a heartbeat.
pub(crate) fn put_session<T>(request: &mut Request<T>, session: NodeEpoch) {
    request.metadata_mut().insert(SESSION, MetadataValue::from(session.0));
}

/// The session of a heartbeat. Errors: `InvalidRequest`.
pub(crate) fn session(metadata: &MetadataMap) -> Result<NodeEpoch> {
    let text = metadata.get(SESSION).and_then(|value| value.to_str().ok());
    let number = text.and_then(|text| text.parse().ok());
    number.map(NodeEpoch).ok_or_else(|| Error::invalid("heartbeat without a session"))
}
