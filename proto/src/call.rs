//! What every call between roles carries beside its request.

use std::time::Duration;

use varve_model::{Error, Reason, Result};

/// Version of the wire between roles; another one is refused in the first message.
pub const PROTOCOL_VERSION: u32 = 1;

/// Context of one call. Cancel is by drop: a dropped future or stream ends the work at the callee.
#[derive(Clone, Debug)]
pub struct Call {
    /// The id of the client's request, through all stages and roles.
    pub request_id: String,
    /// Time left; the callee counts from arrival, so that no clocks are compared.
    pub timeout: Duration,
    /// W3C trace context, when the client sent one.
    pub traceparent: Option<String>,
    /// The user on whose behalf.
    pub principal: Principal,
    /// [`PROTOCOL_VERSION`] of the caller.
    pub protocol_version: u32,
}

/// On whose behalf a call is made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Principal {
    /// A role of this cluster, for its own work.
    System,
    /// A user; while authentication is off, whatever name the client gave.
    User(String),
}

impl Call {
    /// Refuses a caller of another wire version. Errors: `InvalidRequest`.
    pub fn check(&self) -> Result<()> {
        if self.protocol_version == PROTOCOL_VERSION {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "the caller speaks version {} of varve's internal protocol, this node speaks {PROTOCOL_VERSION}",
            self.protocol_version
        ))
        .with_reason(Reason::Unsupported)
        .with_hint("run the same version of varve on all nodes"))
    }

    /// A call on behalf of varve itself.
    pub fn system(request_id: impl Into<String>, timeout: Duration) -> Self {
        Self {
            request_id: request_id.into(),
            timeout,
            traceparent: None,
            principal: Principal::System,
            protocol_version: PROTOCOL_VERSION,
        }
    }
}
