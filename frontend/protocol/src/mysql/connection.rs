//! One connection: its session, its loop, and the text protocol.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::BufMut;
use mysql_common::constants::{CapabilityFlags, StatusFlags};
use mysql_common::io::BufMutExt;
use mysql_common::packets::AuthPlugin;
use tokio::net::TcpStream;
use tracing::Instrument;
use varve_model::Result;
use varve_model::limits::{HANDSHAKE_TIMEOUT, MYSQL_CONNECTIONS_MAX, SQL_TEXT_BYTES_MAX};

use super::command::{self, ChangeUser, Command};
use super::encode::{Format, Style, Zone};
use super::failure::{self, Failure, Halt};
use super::prepared::Statement;
use super::wire::Wire;
use super::{Shared, cursor, kind, login, reply, text};
use crate::gateway::Query;
use crate::output::column::Column;
use crate::output::{Output, SessionChange};
use crate::process::{self, Execution};
use crate::session::{Session, Wire as SessionWire, user_name};
use crate::stream::{OUTBOX_BYTES, Packet};

/// A connection after its login.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) wire: Wire,
    pub(super) shared: Arc<Shared>,
    pub(super) session: Session,
    /// What both sides can.
    pub(super) capabilities: CapabilityFlags,
    pub(super) status: StatusFlags,
    pub(super) statements: HashMap<u32, Statement>,
    pub(super) next_statement: u32,
    process: process::Connection,
}

/// Serves a connection to its end.
pub(super) async fn serve(stream: TcpStream, shared: Arc<Shared>, admitted: bool) {
    let process = shared.gateway.processes().enter(SessionWire::Mysql, stream.peer_addr().ok());
    let mut wire = Wire::new(stream, shared.clock.clone(), shared.memory.clone());
    let id = process.id().0;
    let greeted = tokio::select! {
        greeted = login::greet(&mut wire, &shared, id) => greeted,
        () = shared.clock.sleep(HANDSHAKE_TIMEOUT) => Err(Halt::Gone),
        () = shared.tasks.token().cancelled() => Err(Halt::Gone),
    };
    let outcome = match greeted {
        Ok((session, capabilities)) if admitted => {
            let span = tracing::info_span!("mysql", id, user = %session.user);
            wire.admit();
            let mut connection = Connection {
                wire,
                shared: shared.clone(),
                session,
                capabilities,
                status: StatusFlags::SERVER_STATUS_AUTOCOMMIT,
                statements: HashMap::new(),
                next_statement: 1,
                process,
            };
            let outcome = connection.converse().instrument(span).await;
            wire = connection.wire;
            outcome
        }
        Ok(_) => {
            let text = format!("Too many connections ({MYSQL_CONNECTIONS_MAX})");
            Err(Failure::fatal(failure::TOO_MANY_CONNECTIONS, text).into())
        }
        Err(halt) => Err(halt),
    };
    if let Err(Halt::Failure(failure)) = outcome {
        wire.farewell(&failure).await;
    }
}

impl Connection {
    /// Answers commands until the client ends, or a fatal failure does.
    async fn converse(&mut self) -> Result<(), Halt> {
        self.ok(0);
        self.wire.flush().await?;
        let (stopping, end) = (self.shared.tasks.token().clone(), self.process.end().clone());
        loop {
            self.wire.outbox.next = 0;
            let packet = tokio::select! {
                // What the client has sent already is not begun any more.
                biased;
                () = end.cancelled() => return Err(Failure::fatal(failure::KILLED, "The session was killed").into()),
                () = stopping.cancelled() => {
                    return Err(Failure::fatal(failure::SHUTDOWN, "Server shutdown in progress").into());
                }
                packet = self.wire.packet() => packet?,
            };
            // The charge is held while the command is handled.
            let (command, _charge) = match packet.map(Packet::open) {
                Ok((packet, charge)) => (command::command(packet), charge),
                Err(refused) => (command::lost(&refused.head, refused.failure), None),
            };
            let outcome = match command {
                Ok(Command::Quit) => return Ok(()),
                Ok(command) => Box::pin(self.handle(command)).await,
                Err(failure) => Err(failure.into()),
            };
            match outcome {
                Ok(()) => {}
                Err(Halt::Failure(failure)) if !failure.fatal => self.wire.put(&failure.packet()),
                Err(halt) => return Err(halt),
            }
            tokio::select! {
                flushed = self.wire.flush() => flushed?,
                // What is left is sent before the last word.
                () = end.cancelled() => {}
            }
        }
    }

    async fn handle(&mut self, command: Command) -> Result<(), Halt> {
        match command {
            Command::Query(text) => return self.query(&text).await,
            Command::Prepare(text) => return self.prepare(text).await,
            Command::Execute { statement, values } => return self.execute(statement, values).await,
            Command::LongData { statement, param, data } => {
                self.long_data(statement, param, &data);
                return Ok(());
            }
            Command::Lost { statement, failure } => {
                self.lost(statement, failure);
                return Ok(());
            }
            Command::Close(statement) => {
                self.statements.remove(&statement);
                return Ok(());
            }
            Command::FieldList(table) => return self.fields(&table).await,
            Command::Kill(id) => return self.query(&format!("KILL {id}")).await,
            Command::Statistics => {
                let up = self.shared.clock.boot().as_secs();
                self.wire.outbox.put(|out| out.put_slice(format!("Uptime: {up}").as_bytes()));
                return Ok(());
            }
            Command::MultiStatements(on) => {
                self.capabilities.set(CapabilityFlags::CLIENT_MULTI_STATEMENTS, on);
                self.end_of_rows(self.status);
                return Ok(());
            }
            Command::Reset(statement) => self.reset(statement)?,
            Command::Fetch(statement) => {
                let text = format!("The statement ({statement}) has no open cursor");
                return Err(Failure::new(failure::NO_CURSOR, text).into());
            }
            Command::InitDb(name) => {
                self.session.database = login::database(&self.shared, &self.session, &name).await?;
            }
            Command::ChangeUser(change) => self.change_user(change).await?,
            Command::ResetConnection => self.forget(),
            Command::Ping | Command::Quit => {}
        }
        self.ok(0);
        Ok(())
    }

    async fn change_user(&mut self, change: ChangeUser) -> Result<(), Halt> {
        let method = match &change.method[..] {
            [] => AuthPlugin::MysqlNativePassword,
            name => AuthPlugin::from_bytes(name),
        };
        let can_switch = self.capabilities.contains(CapabilityFlags::CLIENT_PLUGIN_AUTH);
        tokio::select! {
            done = login::authenticate(&mut self.wire, &self.shared, method, &change.answer, can_switch) => done?,
            () = self.shared.clock.sleep(HANDSHAKE_TIMEOUT) => return Err(Halt::Gone),
        }
        let database = login::database(&self.shared, &self.session, &change.database).await?;
        self.forget();
        (self.session.user, self.session.database) = (user_name(&change.user), database);
        Ok(())
    }

    /// Forgets what the session has set, but not its database.
    fn forget(&mut self) {
        let fresh = Session::new(SessionWire::Mysql);
        self.session.time_zone = fresh.time_zone;
        self.statements.clear();
        self.status = StatusFlags::SERVER_STATUS_AUTOCOMMIT;
    }

    /// The columns of a table, as the mysql client asks for them to complete names.
    async fn fields(&mut self, table: &str) -> Result<(), Halt> {
        let sql = format!("SELECT * FROM {}", text::identifier(table));
        let execution = self.start(&sql);
        let (gateway, session) = (self.shared.gateway.clone(), self.session.clone());
        let outcome = self.watched(&execution, async move { gateway.prepare(&session, &sql).await }).await;
        for column in outcome?.schema.iter().flat_map(|schema| Column::all(schema)) {
            self.wire.outbox.put(|out| {
                kind::definition(out, &column, table);
                // After each column its default: none.
                out.put_u8(0xfb);
            });
        }
        self.end_of_rows(self.status);
        Ok(())
    }

    /// Texts of one or more statements, answered in text.
    async fn query(&mut self, text: &str) -> Result<(), Halt> {
        // Binary values in it are twice as long as they came.
        if text.len() > SQL_TEXT_BYTES_MAX {
            return Err(command::too_long().into());
        }
        if text::is_empty(text) {
            return Err(Failure::new(failure::EMPTY_QUERY, "Query was empty").into());
        }
        if !self.capabilities.contains(CapabilityFlags::CLIENT_MULTI_STATEMENTS) && text::several(text) {
            let text = "several statements in one text, which this connection has not asked for";
            return Err(Failure::new(failure::SYNTAX, text).into());
        }
        let execution = self.start(text);
        let query = Query::Sql { text: text.to_owned(), params: Vec::new() };
        self.answer(query, Format::Text, &execution).await
    }

    /// Runs a query and sends what it answers.
    pub(super) async fn answer(&mut self, query: Query, format: Format, execution: &Execution) -> Result<(), Halt> {
        let Query::Sql { text, .. } = &query;
        let autocommit = text::autocommit(text);
        let (gateway, session) = (self.shared.gateway.clone(), self.session.clone());
        let outputs = self.watched(execution, async move { gateway.run(&session, query).await }).await?;
        if let Some(on) = autocommit {
            self.status.set(StatusFlags::SERVER_STATUS_AUTOCOMMIT, on);
        }
        let count = outputs.len();
        if count == 0 {
            self.ok(0);
        }
        for (at, output) in outputs.into_iter().enumerate() {
            self.status.set(StatusFlags::SERVER_MORE_RESULTS_EXISTS, at + 1 < count);
            let outcome = self.answer_one(output, format, execution).await;
            self.status.remove(StatusFlags::SERVER_MORE_RESULTS_EXISTS);
            outcome?;
            if self.wire.outbox.bytes.len() > OUTBOX_BYTES {
                self.wire.flush_for(execution).await?;
            }
        }
        Ok(())
    }

    async fn answer_one(&mut self, output: Output, format: Format, execution: &Execution) -> Result<(), Halt> {
        match output {
            Output::Rows { schema, stream } => {
                let columns = Arc::new(Column::all(&schema));
                self.describe(&columns)?;
                let style = Style { format, zone: Zone::of(&self.session.time_zone) };
                Box::pin(cursor::send(self, execution, columns, style, stream)).await?;
                self.end_of_rows(self.status);
            }
            Output::Count { verb, rows } => self.counted(verb, rows),
            Output::Set { verb, change } => {
                match change {
                    SessionChange::Database(database) => self.session.database = database,
                    SessionChange::TimeZone(zone) => self.session.time_zone = zone,
                    SessionChange::Ignored => {}
                }
                self.counted(verb, 0);
            }
        }
        Ok(())
    }

    /// Completes a statement without rows.
    fn counted(&mut self, verb: &str, rows: u64) {
        match verb {
            "BEGIN" | "START TRANSACTION" => self.status.insert(StatusFlags::SERVER_STATUS_IN_TRANS),
            "COMMIT" | "ROLLBACK" => self.status.remove(StatusFlags::SERVER_STATUS_IN_TRANS),
            _ => {}
        }
        self.ok(rows);
    }

    /// Sends the columns of an answer.
    fn describe(&mut self, columns: &[Column]) -> Result<(), Failure> {
        if columns.len() > usize::from(u16::MAX) {
            return Err(Failure::new(failure::TOO_MANY_FIELDS, "Too many columns"));
        }
        self.wire.outbox.put(|out| out.put_lenenc_int(columns.len() as u64));
        for column in columns {
            self.wire.outbox.put(|out| kind::definition(out, column, ""));
        }
        self.end_of_definitions();
        Ok(())
    }

    /// Older clients wait for an EOF packet after column definitions.
    pub(super) fn end_of_definitions(&mut self) {
        if !self.capabilities.contains(CapabilityFlags::CLIENT_DEPRECATE_EOF) {
            let status = self.status;
            self.wire.outbox.put(|out| reply::eof(out, status));
        }
    }

    fn end_of_rows(&mut self, status: StatusFlags) {
        let capabilities = self.capabilities;
        self.wire.outbox.put(|out| reply::end_of_rows(out, status, capabilities));
    }

    pub(super) fn ok(&mut self, rows: u64) {
        let status = self.status;
        self.wire.outbox.put(|out| reply::ok(out, rows, status));
    }

    /// Begins a statement: KILL finds it for as long as what is returned lives.
    pub(super) fn start(&mut self, text: &str) -> Execution {
        self.session = self.session.next();
        self.process.begin(&self.session, text)
    }

    /// Awaits work of a statement.
    pub(super) async fn watched<T>(
        &mut self,
        execution: &Execution,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T, Halt> {
        Ok(execution.bound(self.wire.gone(), work).await??)
    }
}
