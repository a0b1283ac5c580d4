//! Clients' connections and the statements that run on them: what KILL, cancel requests and the process list see.
//!
//! One numbering for all wires, so that a statement that came by one can be
//! ended by another. An HTTP request is a connection of one statement.
//! What ends a statement from outside is the same for all wires too
//! ([`Execution::bound`]); each has its own words for it ([`Ended`]).

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
    /// Where this frontend serves; empty before it listens.
    address: String,
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
        let state = State { frontend, address: String::new(), next: (drawn >> 64) as u32, open: BTreeMap::new() };
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

    /// Lists say from now on that this frontend serves there.
    pub fn listens_on(&self, address: SocketAddr) {
        self.0.state.lock().address = address.to_string();
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

    /// Ends a statement or a connection, if it is one of this frontend and the secret is right where one is given.
    pub fn cancel(&self, cancel: &Cancel) -> Verdict {
        let state = self.0.state.lock();
        let Some(open) = state.open.get(&cancel.process) else { return Verdict::Unknown };
        if cancel.secret.as_ref().is_some_and(|secret| !is_same(secret, &open.secret)) {
            return Verdict::Wrong;
        }
        match (cancel.scope, &open.current) {
            (CancelScope::Connection, _) => open.end.cancel(),
            (CancelScope::Statement, Some(current)) => current.cancel.cancel(),
            (CancelScope::Statement, None) => {}
        }
        Verdict::Found
    }

    /// The statements that run, in the order of their connections.
    pub fn list(&self) -> Vec<Process> {
        let now = self.0.clock.boot();
        let state = self.0.state.lock();
        let running = state.open.iter().filter_map(|(id, open)| Some((*id, open, open.current.as_ref()?)));
        let process = |(id, open, current): (ProcessId, &Open, &Current)| Process {
            id,
            frontend: state.address.clone(),
            client: open.client.clone(),
            user: current.user.clone(),
            database: current.database.clone(),
            query: current.query.clone(),
            started_ms: current.started_ms,
            elapsed: now.saturating_sub(current.started),
        };
        running.map(process).collect()
    }

    fn begin(&self, connection: &Connection, session: &Session, text: &str) -> Execution {
        // A connection that is to end begins nothing more.
        let cancel = connection.end.child_token();
        let started = self.0.clock.boot();
        let current = Current {
            cancel: cancel.clone(),
            user: session.user.clone(),
            database: session.database.clone(),
            query: text[..text.floor_char_boundary(QUERY_BYTES_MAX)].to_owned(),
            started_ms: self.0.clock.wall_nanos() / 1_000_000,
            started,
        };
        if let Some(open) = self.0.state.lock().open.get_mut(&connection.id) {
            open.current = Some(current);
        }
        Execution {
            processes: self.clone(),
            id: connection.id,
            cancel,
            deadline: started + session.timeout,
            timeout: session.timeout,
            request: None,
            _running: Running::begin(Work::Statement),
        }
    }
}

/// What a cancel met at this frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The connection; what was to end ends.
    Found,
    /// The connection, but the secret is not its.
    Wrong,
    /// No such connection: it may be another frontend's.
    Unknown,
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
        self.processes.begin(self, session, text)
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
    /// Boot time at which its time is up.
    deadline: Duration,
    timeout: Duration,
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

/// What ends a statement before its work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Somebody ended it.
    Cancelled,
    /// Nobody waits for it any more.
    Gone,
    /// It took longer than this.
    Late(Duration),
}

impl Execution {
    /// What the work comes to, unless somebody ends the statement, its client goes or its time is up.
    /// Work that is dropped half done must leave nothing broken.
    pub async fn bound<T>(&self, gone: impl Future<Output = ()>, work: impl Future<Output = T>) -> Result<T, Ended> {
        let clock = &self.processes.0.clock;
        tokio::select! {
            // Work that is always ready must not outrun its end.
            biased;
            () = self.cancel.cancelled() => Err(Ended::Cancelled),
            () = gone => Err(Ended::Gone),
            () = clock.sleep(self.deadline.saturating_sub(clock.boot())) => Err(Ended::Late(self.timeout)),
            done = work => Ok(done),
        }
    }
}
