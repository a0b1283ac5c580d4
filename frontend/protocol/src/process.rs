//! Clients' connections and the statements that run on them: what KILL, cancel requests and the process list see.
//!
//! One numbering for all wires, so that a statement that came by one can be
//! ended by another. An HTTP request is a connection of one statement.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use varve_model::id::process::{Cancel, CancelScope, Process};
use varve_model::id::{FrontendId, ProcessId};
use varve_service::clock::SharedClock;
use varve_service::telemetry::running::{Running, Work};

use crate::session::{Session, Wire};

#[cfg(test)]
mod tests;

/// Bytes of a statement's text that are kept.
const QUERY_BYTES_MAX: usize = 4096;
/// Bytes of a secret, as PostgreSQL's protocol 3.0 has them.
pub const SECRET_BYTES: usize = 4;

/// All connections of this frontend. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Processes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: SharedClock,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    frontend: FrontendId,
    /// The next connection's number. It starts at random: should two frontends have one number for a
    /// moment, their connections still have different ones.
    next: u32,
    open: BTreeMap<ProcessId, Open>,
}

#[derive(Debug)]
struct Open {
    client: String,
    secret: [u8; SECRET_BYTES],
    end: CancellationToken,
    /// The newest statement that runs.
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    cancel: CancellationToken,
    user: String,
    database: String,
    query: String,
    started_ms: i64,
    started: Duration,
}

impl Processes {
    /// No connections yet, and a number for this frontend that metasrv may change.
    pub fn new(clock: SharedClock) -> Self {
        let drawn = clock.random();
        let frontend = FrontendId(1 + (drawn as u32) % FrontendId::MAX);
        let state = State { frontend, next: (drawn >> 64) as u32, open: BTreeMap::new() };
        Self(Arc::new(Shared { clock, state: Mutex::new(state) }))
    }

    /// This frontend's number.
    pub fn frontend(&self) -> FrontendId {
        self.0.state.lock().frontend
    }

    /// Connections from now on carry this number of the frontend; open ones keep theirs.
    pub fn renumber(&self, frontend: FrontendId) {
        self.0.state.lock().frontend = frontend;
    }

    /// A new connection; it ends when what is returned is dropped.
    pub fn enter(&self, wire: Wire, client: Option<SocketAddr>) -> Connection {
        let client = client.map_or_else(String::new, |client| client.to_string());
        let client = format!("{}[{client}]", wire.name());
        let secret = (self.0.clock.random() as u32).to_be_bytes();
        let end = CancellationToken::new();
        let mut state = self.0.state.lock();
        let id = loop {
            let id = ProcessId::new(state.frontend, state.next);
            state.next = state.next.wrapping_add(1);
            if !state.open.contains_key(&id) {
                break id;
            }
        };
        state.open.insert(id, Open { client, secret, end: end.clone(), current: None });
        drop(state);
        Connection { processes: self.clone(), id, secret, end }
    }

    /// Ends a statement or a connection. Whether there is such a connection, and the secret is right if one is given.
    pub fn cancel(&self, cancel: &Cancel) -> bool {
        let state = self.0.state.lock();
        let Some(open) = state.open.get(&cancel.process) else { return false };
        if cancel.secret.as_ref().is_some_and(|secret| !is_same(secret, &open.secret)) {
            return false;
        }
        if cancel.scope == CancelScope::Connection {
            open.end.cancel();
        }
        if let Some(current) = &open.current {
            current.cancel.cancel();
        }
        true
    }

    /// The statements that run, in the order of their connections; `frontend` says where.
    pub fn list(&self, frontend: &str) -> Vec<Process> {
        let now = self.0.clock.boot();
        let state = self.0.state.lock();
        let running = state.open.iter().filter_map(|(id, open)| Some((*id, open, open.current.as_ref()?)));
        let process = |(id, open, current): (ProcessId, &Open, &Current)| Process {
            id,
            frontend: frontend.to_owned(),
            client: open.client.clone(),
            user: current.user.clone(),
            database: current.database.clone(),
            query: current.query.clone(),
            started_ms: current.started_ms,
            elapsed: now.saturating_sub(current.started),
        };
        running.map(process).collect()
    }

    fn begin(&self, id: ProcessId, session: &Session, text: &str) -> (CancellationToken, Running) {
        let cancel = CancellationToken::new();
        let current = Current {
            cancel: cancel.clone(),
            user: session.user.clone(),
            database: session.database.clone(),
            query: text[..text.floor_char_boundary(QUERY_BYTES_MAX)].to_owned(),
            started_ms: self.0.clock.wall_nanos() / 1_000_000,
            started: self.0.clock.boot(),
        };
        if let Some(open) = self.0.state.lock().open.get_mut(&id) {
            open.current = Some(current);
        }
        (cancel, Running::begin(Work::Statement))
    }
}

/// Compares all bytes, so that the time tells nothing of where they differ.
fn is_same(given: &[u8], secret: &[u8]) -> bool {
    given.len() == secret.len() && given.iter().zip(secret).fold(0, |seen, (a, b)| seen | (a ^ b)) == 0
}

/// A client's connection while it is open.
#[derive(Debug)]
pub struct Connection {
    processes: Processes,
    id: ProcessId,
    secret: [u8; SECRET_BYTES],
    end: CancellationToken,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.processes.0.state.lock().open.remove(&self.id);
    }
}

impl Connection {
    /// Its number.
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// What a client that must cancel without a login has to know.
    pub fn secret(&self) -> [u8; SECRET_BYTES] {
        self.secret
    }

    /// Cancelled when the connection shall end.
    pub fn end(&self) -> &CancellationToken {
        &self.end
    }

    /// A statement begins; it ends when what is returned is dropped. One at a time per connection.
    pub fn begin(&self, session: &Session, text: &str) -> Execution {
        let (cancel, running) = self.processes.begin(self.id, session, text);
        Execution { processes: self.processes.clone(), id: self.id, cancel, request: None, _running: running }
    }

    /// Begins the only statement of a request; the request ends with it.
    pub fn into_statement(self, session: &Session, text: &str) -> Execution {
        let mut execution = self.begin(session, text);
        execution.request = Some(self);
        execution
    }
}

/// A statement that runs.
#[derive(Debug)]
pub struct Execution {
    processes: Processes,
    id: ProcessId,
    cancel: CancellationToken,
    /// The connection, when it is a request of this statement alone.
    request: Option<Connection>,
    _running: Running,
}

impl Drop for Execution {
    fn drop(&mut self) {
        if self.request.is_none()
            && let Some(open) = self.processes.0.state.lock().open.get_mut(&self.id)
        {
            open.current = None;
        }
    }
}

impl Execution {
    /// Resolves when somebody ends the statement.
    pub async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }
}
