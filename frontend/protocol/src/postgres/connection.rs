//! One connection: its session, its loop, and the simple protocol.

use std::collections::HashMap;
use std::sync::Arc;

use pgwire::messages::PgWireBackendMessage as Out;
use pgwire::messages::data::RowDescription;
use pgwire::messages::response::{CommandComplete, EmptyQueryResponse, ReadyForQuery, TransactionStatus};
use tokio::net::TcpStream;
use tracing::Instrument;
use varve_model::Result;
use varve_model::limits::{HANDSHAKE_TIMEOUT, POSTGRES_CONNECTIONS_MAX};

use super::Shared;
use super::cursor::Cursor;
use super::extended::{Portal, Statement};
use super::failure::{Failure, Halt};
use super::frame::{self, Message};
use super::kind::{self, Format};
use super::startup;
use super::wire::Wire;
use crate::gateway::Query;
use crate::output::column::Column;
use crate::output::{Output, SessionChange};
use crate::process::{self, Execution};
use crate::session::{Session, Wire as SessionWire};
use crate::stream::{OUTBOX_BYTES, Packet};

/// A connection after its start.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) wire: Wire,
    pub(super) shared: Arc<Shared>,
    pub(super) session: Session,
    process: process::Connection,
    pub(super) status: TransactionStatus,
    /// After an error of the extended protocol: everything up to Sync is skipped.
    skipping: bool,
    pub(super) statements: HashMap<String, Arc<Statement>>,
    pub(super) portals: HashMap<String, Portal>,
}

/// Serves a connection to its end.
pub(super) async fn serve(stream: TcpStream, shared: Arc<Shared>, admitted: bool) {
    let client = stream.peer_addr().ok();
    let mut wire = Wire::new(stream, shared.clock.clone(), shared.memory.clone());
    let greeted = tokio::select! {
        greeted = startup::greet(&mut wire, &shared) => greeted,
        () = shared.clock.sleep(HANDSHAKE_TIMEOUT) => return,
        () = shared.tasks.token().cancelled() => return,
    };
    let mut session = match greeted {
        Ok(Some(session)) if admitted => session,
        Ok(None) | Err(Halt::Gone) => return,
        Ok(Some(_)) => {
            let text = format!("sorry, too many clients already ({POSTGRES_CONNECTIONS_MAX})");
            return wire.farewell(&Failure::fatal("53300", text)).await;
        }
        Err(Halt::Failure(failure)) => return wire.farewell(&Failure { fatal: true, ..failure }).await,
    };
    let process = shared.gateway.processes().enter(SessionWire::Postgres, client);
    session.connection = process.id().0;
    let cancel_key = startup::cancel_key(&process);
    let span = tracing::info_span!("postgres", process = session.connection, user = %session.user);
    let mut connection = Connection {
        wire,
        shared: shared.clone(),
        session,
        process,
        status: TransactionStatus::Idle,
        skipping: false,
        statements: HashMap::new(),
        portals: HashMap::new(),
    };
    let outcome = async {
        connection.wire.put(&cancel_key)?;
        connection.ready().await?;
        connection.converse().await
    };
    if let Err(Halt::Failure(failure)) = outcome.instrument(span).await {
        connection.wire.farewell(&failure).await;
    }
}

fn terminated() -> Failure {
    Failure::fatal("57P01", "terminating connection due to administrator command")
}

impl Connection {
    /// Answers messages until the client ends, or a fatal failure does.
    async fn converse(&mut self) -> Result<(), Halt> {
        loop {
            let (stopping, end) = (self.shared.tasks.token().clone(), self.process.end().clone());
            let (kind, packet) = tokio::select! {
                // What the client has sent already is not begun any more.
                biased;
                () = end.cancelled() => return Err(terminated().into()),
                () = stopping.cancelled() => return Err(terminated().into()),
                frame = self.wire.frame() => frame?,
            };
            // The charge is held while the message is handled.
            let (message, _charge) = match packet.map(Packet::open) {
                Ok((body, charge)) => (frame::message(kind, body), charge),
                Err(failure) => (Err(failure), None),
            };
            let ends_skipping = match &message {
                Ok(message) => matches!(message, Message::Sync | Message::Terminate),
                Err(failure) => failure.fatal,
            };
            if self.skipping && !ends_skipping {
                continue;
            }
            let outcome = match message {
                Ok(Message::Terminate) => return Ok(()),
                Ok(message) => Box::pin(self.handle(message)).await,
                Err(failure) => Err(failure.into()),
            };
            match outcome {
                // A client may ask much before it asks for the answers.
                Ok(()) if self.wire.outbox.len() > OUTBOX_BYTES => self.flush().await?,
                Ok(()) => {}
                Err(Halt::Failure(failure)) if !failure.fatal => self.fail(kind, &failure).await?,
                Err(halt) => return Err(halt),
            }
        }
    }

    async fn handle(&mut self, message: Message) -> Result<(), Halt> {
        match message {
            Message::Query(text) => self.query(&text).await,
            Message::Parse { name, sql, types } => self.parse(name, sql, types).await,
            Message::Bind(bind) => self.bind(bind),
            Message::Describe { target, name } => self.describe(target, &name),
            Message::Execute { portal, rows_max } => self.execute(&portal, rows_max).await,
            Message::Close { target, name } => self.close(target, &name),
            Message::Flush => self.flush().await,
            Message::Sync => {
                self.skipping = false;
                if self.status == TransactionStatus::Idle {
                    self.portals.clear();
                }
                self.ready().await
            }
            Message::Terminate | Message::Skipped => Ok(()),
        }
    }

    /// Tells the client of a failure, and what it may do next.
    async fn fail(&mut self, kind: u8, failure: &Failure) -> Result<(), Halt> {
        self.wire.put(&failure.response())?;
        if self.status == TransactionStatus::Transaction {
            self.status = TransactionStatus::Error;
        }
        if frame::is_extended(kind) {
            self.skipping = true;
            return self.flush().await;
        }
        self.ready().await
    }

    pub(super) async fn ready(&mut self) -> Result<(), Halt> {
        self.wire.put(&Out::ReadyForQuery(ReadyForQuery::new(self.status)))?;
        self.flush().await
    }

    /// Sends what was written, unless the connection shall end.
    async fn flush(&mut self) -> Result<(), Halt> {
        tokio::select! {
            flushed = self.wire.flush() => flushed,
            () = self.process.end().cancelled() => Err(terminated().into()),
        }
    }

    /// The simple protocol: texts of one or more statements, answered in text.
    async fn query(&mut self, text: &str) -> Result<(), Halt> {
        self.statements.remove("");
        self.portals.remove("");
        if is_empty(text) {
            self.wire.put(&Out::EmptyQueryResponse(EmptyQueryResponse::new()))?;
            return self.ready().await;
        }
        let execution = self.start(text)?;
        self.answer(text, &execution).await?;
        drop(execution);
        self.ready().await
    }

    async fn answer(&mut self, text: &str, execution: &Execution) -> Result<(), Halt> {
        let query = Query::Sql { text: text.to_owned(), params: Vec::new() };
        let outputs = self.run(query, execution).await?;
        let verb = if outputs.len() == 1 { rows_verb(text) } else { "SELECT" };
        for output in outputs {
            match output {
                Output::Rows { schema, stream } => {
                    let mut cursor = Cursor::new(Column::all(&schema), &[], stream);
                    self.describe_rows(&cursor.columns, &[])?;
                    let (rows, _) = cursor.send(self, execution, 0).await?;
                    self.complete(rows_tag(verb, rows))?;
                }
                Output::Count { verb, rows } => self.counted(verb, rows)?,
                Output::Set { verb, change } => self.changed(verb, change)?,
            }
            if self.wire.outbox.len() > OUTBOX_BYTES {
                self.wire.flush_for(execution).await?;
            }
        }
        Ok(())
    }

    /// Begins a statement: checks it may run, and lets cancel requests find it while what is returned lives.
    pub(super) fn start(&mut self, text: &str) -> Result<Execution, Halt> {
        if self.status == TransactionStatus::Error && !ends_transaction(text) {
            let text = "current transaction is aborted, commands ignored until end of transaction block";
            return Err(Failure::new("25P02", text).into());
        }
        self.session = self.session.next();
        Ok(self.process.begin(&self.session, text))
    }

    /// Runs a query.
    pub(super) async fn run(&mut self, query: Query, execution: &Execution) -> Result<Vec<Output>, Halt> {
        let (gateway, session) = (self.shared.gateway.clone(), self.session.clone());
        self.watched(execution, async move { gateway.run(&session, query).await }).await
    }

    /// Awaits work of a statement.
    pub(super) async fn watched<T>(
        &mut self,
        execution: &Execution,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T, Halt> {
        Ok(execution.bound(self.wire.gone(), work).await??)
    }

    /// Sends the columns of an answer.
    pub(super) fn describe_rows(&mut self, columns: &[Column], formats: &[i16]) -> Result<(), Halt> {
        if columns.len() > i16::MAX as usize {
            return Err(Failure::new("54011", "the answer has too many columns for this protocol").into());
        }
        let fields = columns.iter().enumerate().map(|(at, column)| kind::description(column, Format::of(formats, at)));
        self.wire.put(&Out::RowDescription(RowDescription::new(fields.collect())))
    }

    pub(super) fn complete(&mut self, tag: String) -> Result<(), Halt> {
        self.wire.put(&Out::CommandComplete(CommandComplete::new(tag)))
    }

    /// Completes a statement without rows.
    pub(super) fn counted(&mut self, verb: &'static str, rows: u64) -> Result<(), Halt> {
        let failed = self.status == TransactionStatus::Error;
        self.status = status_after(verb, self.status);
        let tag = match verb {
            "INSERT" => format!("INSERT 0 {rows}"),
            "DELETE" | "UPDATE" | "COPY" | "SELECT" | "MERGE" | "MOVE" | "FETCH" => format!("{verb} {rows}"),
            // PostgreSQL says what a COMMIT after an error does.
            "COMMIT" if failed => "ROLLBACK".to_owned(),
            _ => verb.to_owned(),
        };
        self.complete(tag)
    }

    /// Completes a statement that changes the session.
    pub(super) fn changed(&mut self, verb: &'static str, change: SessionChange) -> Result<(), Halt> {
        match change {
            SessionChange::Database(database) => self.session.database = database,
            SessionChange::TimeZone(zone) => {
                self.wire.put(&startup::parameter("TimeZone", &zone))?;
                self.session.time_zone = zone;
            }
            SessionChange::Ignored => {}
        }
        self.counted(verb, 0)
    }
}

/// Whether a text holds no statement at all.
pub(super) fn is_empty(text: &str) -> bool {
    text.chars().all(|letter| letter == ';' || letter.is_whitespace())
}

fn first_word(text: &str) -> String {
    let text = text.trim_start_matches(|letter: char| letter == ';' || letter == '(' || letter.is_whitespace());
    text.chars().take_while(|letter| letter.is_ascii_alphabetic()).collect::<String>().to_ascii_uppercase()
}

fn ends_transaction(text: &str) -> bool {
    matches!(first_word(text).as_str(), "ROLLBACK" | "COMMIT" | "END" | "ABORT")
}

/// The verb in the tag of a statement that answers rows.
pub(super) fn rows_verb(text: &str) -> &'static str {
    match first_word(text).as_str() {
        "SHOW" => "SHOW",
        "EXPLAIN" => "EXPLAIN",
        _ => "SELECT",
    }
}

/// The tag of a statement that answers rows.
pub(super) fn rows_tag(verb: &str, rows: u64) -> String {
    if verb == "SELECT" { format!("SELECT {rows}") } else { verb.to_owned() }
}

fn status_after(verb: &str, status: TransactionStatus) -> TransactionStatus {
    match verb {
        "BEGIN" | "START TRANSACTION" => TransactionStatus::Transaction,
        "COMMIT" | "ROLLBACK" | "END" | "ABORT" => TransactionStatus::Idle,
        _ => status,
    }
}
