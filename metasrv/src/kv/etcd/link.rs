//! The connection to one etcd member at a time.
//!
//! One member is used until a call on it breaks; then each is asked in turn and
//! the first that answers a linearizable read is used. A balanced channel over
//! all members would send a share of the calls to a dead one, and nobody could
//! tell whether a transaction had been sent.

use std::fmt;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tonic::Code;
use varve_model::{Error, Result};
use varve_service::clock::SharedClock;

use super::too_large;

/// How long a member may take to connect and answer a read.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a silent connection is probed, and how long the answer may take.
const KEEPALIVE: Duration = Duration::from_secs(3);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// A key that is read to see whether a member answers.
const PROBE_KEY: &str = "varve-probe";

/// A way to etcd.
pub(super) struct Link {
    endpoints: Vec<String>,
    clock: SharedClock,
    current: Mutex<Option<Connected>>,
    /// Held while a member is looked for; the one to ask first, and how many were connected so far.
    search: tokio::sync::Mutex<Search>,
}

#[derive(Debug, Default)]
struct Search {
    next: usize,
    connections: u64,
}

/// One connection.
#[derive(Clone)]
pub(super) struct Connected {
    pub(super) client: Client,
    number: u64,
}

/// Why a call failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// It took too long.
    Late(Duration),
    /// Etcd or the connection said no.
    Etcd(Box<etcd_client::Error>),
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn new(endpoints: Vec<String>, clock: SharedClock) -> Self {
        Self { endpoints, clock, current: Mutex::default(), search: tokio::sync::Mutex::default() }
    }

    pub(super) fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// The connection in use, or a new one to the first member that answers. Errors: `Unavailable`.
    pub(super) async fn connected(&self) -> Result<Connected> {
        if let Some(connected) = self.current.lock().clone() {
            return Ok(connected);
        }
        let mut search = self.search.lock().await;
        if let Some(connected) = self.current.lock().clone() {
            return Ok(connected);
        }
        let mut last = None;
        for _ in 0..self.endpoints.len() {
            let endpoint = &self.endpoints[search.next % self.endpoints.len()];
            match self.connect(endpoint).await {
                Ok(client) => {
                    search.connections += 1;
                    let connected = Connected { client, number: search.connections };
                    *self.current.lock() = Some(connected.clone());
                    return Ok(connected);
                }
                Err(failure) => {
                    search.next += 1;
                    last = Some(failed(&format!("connect to {endpoint} of"), failure));
                }
            }
        }
        // Settings without endpoints are refused before.
        Err(last.unwrap_or_else(|| Error::unavailable("no etcd endpoint is set")))
    }

    async fn connect(&self, endpoint: &str) -> Result<Client, Failure> {
        let options = ConnectOptions::new()
            .with_connect_timeout(PROBE_TIMEOUT)
            .with_keep_alive(KEEPALIVE, KEEPALIVE_TIMEOUT)
            // A member that lost the majority ends its watches instead of keeping silent.
            .with_require_leader(true);
        // On the heap: connecting is rare, and every call would carry its future.
        let probed = Box::pin(async {
            let client = Client::connect([endpoint], Some(options)).await?;
            client.kv_client().get(PROBE_KEY, None).await?;
            Ok(client)
        });
        tokio::select! {
            client = probed => client.map_err(|error: etcd_client::Error| Failure::Etcd(Box::new(error))),
            () = self.clock.sleep(PROBE_TIMEOUT) => Err(Failure::Late(PROBE_TIMEOUT)),
        }
    }

    /// The connection broke: the next call looks for another, beginning with the next member.
    pub(super) fn broke(&self, connected: &Connected) {
        let mut current = self.current.lock();
        if current.as_ref().is_some_and(|current| current.number == connected.number) {
            *current = None;
            // Whoever searches already chooses by itself.
            if let Ok(mut search) = self.search.try_lock() {
                search.next += 1;
            }
        }
    }

    /// Does work on a connection, which counts as broken if the work fails or takes too long.
    pub(super) async fn within<T>(
        &self,
        limit: Duration,
        connected: &Connected,
        work: BoxFuture<'_, Result<T, etcd_client::Error>>,
    ) -> Result<T, Failure> {
        let done = tokio::select! {
            done = work => done.map_err(|error| Failure::Etcd(Box::new(error))),
            () = self.clock.sleep(limit) => Err(Failure::Late(limit)),
        };
        if let Err(failure) = &done
            && !is_final(failure)
        {
            self.broke(connected);
        }
        done
    }
}

/// Whether etcd itself refused, so that another member would say the same.
pub(super) fn is_final(failure: &Failure) -> bool {
    is_missing_lease(failure)
        || matches!(failure, Failure::Etcd(error) if matches!(&**error, etcd_client::Error::GRpcStatus(status)
            if matches!(status.code(), Code::InvalidArgument | Code::OutOfRange | Code::PermissionDenied | Code::Unauthenticated)))
}

/// Whether the lease has ended.
pub(super) fn is_missing_lease(failure: &Failure) -> bool {
    let Failure::Etcd(error) = failure else { return false };
    match &**error {
        etcd_client::Error::LeaseKeepAliveError(text) => text.contains("not found"),
        etcd_client::Error::GRpcStatus(status) => status.code() == Code::NotFound,
        _ => false,
    }
}

/// The error of a call: `doing` names what was done to etcd.
pub(super) fn failed(doing: &str, failure: Failure) -> Error {
    match failure {
        Failure::Late(limit) => Error::unavailable(format!("{doing} etcd: no answer within {limit:?}")),
        Failure::Etcd(error) => {
            if let etcd_client::Error::GRpcStatus(status) = &*error
                && status.code() == Code::InvalidArgument
            {
                return if status.message().contains("too large") {
                    too_large()
                } else {
                    Error::internal(format!("{doing} etcd: {}", status.message()))
                };
            }
            Error::unavailable(format!("{doing} etcd: {error}")).with_source(error)
        }
    }
}
