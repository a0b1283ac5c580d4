//! The extended protocol: prepared statements and portals.

use std::sync::Arc;

use pgwire::messages::PgWireBackendMessage as Out;
use pgwire::messages::data::{NoData, ParameterDescription};
use pgwire::messages::extendedquery::{BindComplete, CloseComplete, ParseComplete, PortalSuspended};
use pgwire::messages::response::EmptyQueryResponse;
use varve_model::budget::Charge;
use varve_model::value::Value;

use super::connection::{Connection, is_empty, rows_tag, rows_verb};
use super::cursor::Cursor;
use super::failure::{Failure, Halt};
use super::frame::{Bind, Target};
use super::kind::{self, Format};
use super::params;
use crate::gateway::Query;
use crate::output::Output;
use crate::output::column::Column;
use crate::process::Execution;

/// Prepared statements, and portals, of one connection.
const NAMES_MAX: usize = 10_000;

/// A prepared statement.
#[derive(Debug)]
pub(super) struct Statement {
    sql: String,
    /// Type numbers of the parameters.
    types: Vec<u32>,
    /// Columns of its answer; `None` when it answers no rows.
    columns: Option<Vec<Column>>,
    /// For as long as anybody holds it.
    _charge: Charge,
}

/// A statement with its values.
#[derive(Debug)]
pub(super) struct Portal {
    statement: Arc<Statement>,
    params: Vec<Value>,
    formats: Vec<i16>,
    state: State,
    /// For name, values and formats.
    _charge: Charge,
}

#[derive(Debug)]
enum State {
    Bound,
    Running(Cursor),
    Done,
}

impl Connection {
    pub(super) async fn parse(&mut self, name: String, sql: String, types: Vec<u32>) -> Result<(), Halt> {
        if !name.is_empty() && self.statements.contains_key(&name) {
            return Err(Failure::new("42P05", format!("prepared statement \"{name}\" already exists")).into());
        }
        if self.statements.len() >= NAMES_MAX {
            return Err(Failure::new("53400", format!("more than {NAMES_MAX} prepared statements")).into());
        }
        let execution = self.start(&sql)?;
        let statement = self.prepare(&name, sql, types, &execution).await?;
        self.statements.insert(name, Arc::new(statement));
        self.wire.put(&Out::ParseComplete(ParseComplete::new()))
    }

    async fn prepare(
        &mut self,
        name: &str,
        sql: String,
        declared: Vec<u32>,
        execution: &Execution,
    ) -> Result<Statement, Halt> {
        let memory = self.shared.memory.clone();
        let charge = |sql: &str, types: &[u32], columns: &[Column]| {
            let columns = columns.iter().map(|column| size_of_val(column) + column.name.len()).sum::<usize>();
            let bytes = size_of::<Statement>() + name.len() + sql.len() + size_of_val(types) + columns;
            memory.admit(bytes as u64)
        };
        if is_empty(&sql) {
            let charge = charge("", &declared, &[])?;
            return Ok(Statement { sql: String::new(), types: declared, columns: None, _charge: charge });
        }
        let (gateway, session, text) = (self.shared.gateway.clone(), self.session.clone(), sql.clone());
        let prepared = self.watched(execution, async move { gateway.prepare(&session, &text).await }).await?;
        let count = declared.len().max(prepared.params.len());
        let inferred = |at: usize| prepared.params.get(at).and_then(Option::as_ref).map(kind::of_parameter);
        let types = (0..count).map(|at| match declared.get(at) {
            Some(oid) if *oid != 0 && *oid != kind::UNKNOWN => *oid,
            _ => inferred(at).unwrap_or(kind::TEXT),
        });
        let types = types.collect::<Vec<_>>();
        let columns = prepared.schema.as_ref().map(|schema| Column::all(schema));
        let charge = charge(&sql, &types, columns.as_deref().unwrap_or_default())?;
        Ok(Statement { sql, types, columns, _charge: charge })
    }

    fn statement(&self, name: &str) -> Result<&Arc<Statement>, Failure> {
        let missing = || Failure::new("26000", format!("prepared statement \"{name}\" does not exist"));
        self.statements.get(name).ok_or_else(missing)
    }

    pub(super) fn bind(&mut self, bind: Bind) -> Result<(), Halt> {
        let statement = self.statement(&bind.statement)?.clone();
        if !bind.portal.is_empty() && self.portals.contains_key(&bind.portal) {
            return Err(Failure::new("42P03", format!("cursor \"{}\" already exists", bind.portal)).into());
        }
        if self.portals.len() >= NAMES_MAX {
            return Err(Failure::new("53400", format!("more than {NAMES_MAX} portals")).into());
        }
        let (given, wanted) = (bind.params.len(), statement.types.len());
        if given != wanted {
            let text = format!(
                "bind message supplies {given} parameters, but prepared statement \"{}\" requires {wanted}",
                bind.statement
            );
            return Err(Failure::protocol(text).into());
        }
        check_formats("parameter", &bind.param_formats, given)?;
        let columns = statement.columns.as_ref().map_or(0, Vec::len);
        check_formats("result", &bind.result_formats, columns)?;
        let values = bind.params.iter().zip(&statement.types).enumerate().map(|(at, (bytes, oid))| match bytes {
            None => Ok(Value::Null),
            Some(bytes) => params::value(*oid, Format::of(&bind.param_formats, at), bytes),
        });
        let params = values.collect::<Result<Vec<_>, _>>()?;
        let formats = bind.result_formats;
        let held = size_of::<Portal>() + bind.portal.len() + size_of_val(&formats[..]) + params::bytes(&params);
        let charge = self.shared.memory.admit(held as u64)?;
        let portal = Portal { statement, params, formats, state: State::Bound, _charge: charge };
        self.portals.insert(bind.portal, portal);
        self.wire.put(&Out::BindComplete(BindComplete::new()))
    }

    pub(super) fn describe(&mut self, target: Target, name: &str) -> Result<(), Halt> {
        let (statement, formats) = match target {
            Target::Statement => {
                let statement = self.statement(name)?.clone();
                let types = ParameterDescription::new(statement.types.clone());
                self.wire.put(&Out::ParameterDescription(types))?;
                (statement, Vec::new())
            }
            Target::Portal => {
                let portal = self.portals.get(name).ok_or_else(|| missing_portal(name))?;
                (portal.statement.clone(), portal.formats.clone())
            }
        };
        match &statement.columns {
            Some(columns) => self.describe_rows(columns, &formats),
            None => self.wire.put(&Out::NoData(NoData::new())),
        }
    }

    pub(super) async fn execute(&mut self, name: &str, rows_max: usize) -> Result<(), Halt> {
        // Taken out while it runs: after an error it is gone, as in PostgreSQL.
        let mut portal = self.portals.remove(name).ok_or_else(|| missing_portal(name))?;
        if portal.statement.sql.is_empty() {
            self.portals.insert(name.to_owned(), portal);
            return self.wire.put(&Out::EmptyQueryResponse(EmptyQueryResponse::new()));
        }
        let execution = self.start(&portal.statement.sql)?;
        self.execute_portal(&mut portal, rows_max, &execution).await?;
        self.portals.insert(name.to_owned(), portal);
        Ok(())
    }

    async fn execute_portal(
        &mut self,
        portal: &mut Portal,
        rows_max: usize,
        execution: &Execution,
    ) -> Result<(), Halt> {
        let statement = portal.statement.clone();
        if matches!(portal.state, State::Bound) {
            let query = Query::Sql { text: statement.sql.clone(), params: std::mem::take(&mut portal.params) };
            let mut outputs = self.run(query, execution).await?;
            portal.state = State::Done;
            match (outputs.pop(), outputs.is_empty()) {
                (Some(Output::Rows { schema, stream }), true) => {
                    let columns = announced(&statement, Column::all(&schema))?;
                    portal.state = State::Running(Cursor::new(columns, &portal.formats, stream));
                }
                (Some(Output::Count { verb, rows }), true) => return self.counted(verb, rows),
                (Some(Output::Set { verb, change }), true) => return self.changed(verb, change),
                _ => {
                    let text = "cannot insert multiple commands into a prepared statement";
                    return Err(Failure::new("42601", text).into());
                }
            }
        }
        let verb = rows_verb(&statement.sql);
        let State::Running(cursor) = &mut portal.state else {
            // Executed to its end before: nothing is left.
            return self.complete(rows_tag(verb, 0));
        };
        let (rows, suspended) = cursor.send(self, execution, rows_max).await?;
        if suspended {
            cursor.wait(&self.shared.memory)?;
            return self.wire.put(&Out::PortalSuspended(PortalSuspended::new()));
        }
        portal.state = State::Done;
        self.complete(rows_tag(verb, rows))
    }

    pub(super) fn close(&mut self, target: Target, name: &str) -> Result<(), Halt> {
        match target {
            Target::Statement => drop(self.statements.remove(name)),
            Target::Portal => drop(self.portals.remove(name)),
        }
        self.wire.put(&Out::CloseComplete(CloseComplete::new()))
    }
}

fn missing_portal(name: &str) -> Failure {
    Failure::new("34000", format!("portal \"{name}\" does not exist"))
}

fn check_formats(what: &str, codes: &[i16], items: usize) -> Result<(), Failure> {
    if let Some(code) = codes.iter().find(|code| !matches!(code, 0 | 1)) {
        return Err(Failure::new("22023", format!("unsupported format code: {code}")));
    }
    if codes.len() > 1 && codes.len() != items {
        return Err(Failure::protocol(format!("bind message has {} {what} formats but {items} {what}s", codes.len())));
    }
    Ok(())
}

/// The columns the client was told of. Values are brought into their types;
/// an answer of another width cannot be.
fn announced(statement: &Statement, found: Vec<Column>) -> Result<Vec<Column>, Failure> {
    match &statement.columns {
        Some(columns) if columns.len() == found.len() => Ok(columns.clone()),
        _ => Err(Failure::new("0A000", "cached plan must not change result type")),
    }
}
