//! Prepared statements: texts with `?`, run with values in binary and answered in binary.

mod params;

use std::collections::BTreeMap;

use arrow_schema::DataType;
use bytes::{BufMut, Bytes};
use varve_model::budget::{Account, Charge};
use varve_model::limits::BODY_BYTES_MAX;
use varve_model::value::Value;
use varve_model::{ErrorKind, Reason, Result};

use super::connection::Connection;
use super::encode::Format;
use super::failure::{self, Failure, Halt};
use super::kind;
use super::text;
use crate::gateway::Query;
use crate::output::column::Column;

#[cfg(test)]
pub(super) use params::values;

/// Prepared statements of one connection.
const STATEMENTS_MAX: usize = 10_000;

/// A prepared statement.
#[derive(Debug)]
pub(super) struct Statement {
    sql: String,
    /// Types that the parameters should have; `None` where any type fits.
    params: Vec<Option<DataType>>,
    /// Types that the client last sent values in: it names them again only when they change.
    types: Vec<params::Sent>,
    /// Values that came in pieces before the execution.
    long: Long,
    /// Why the pieces cannot be used; told at the execution, since pieces are not answered.
    broken: Option<Failure>,
    /// For the statement, and for the values of one execution at a time.
    _charge: Charge,
}

/// Values that come in pieces.
#[derive(Debug, Default)]
struct Long {
    values: BTreeMap<u16, Vec<u8>>,
    charge: Option<Charge>,
}

/// Bytes charged with each piece of a value, beside twice its length, as vectors grow by doubling.
const PIECE_BYTES: usize = 64;

impl Long {
    fn push(&mut self, param: u16, data: &[u8], memory: &Account) -> Result<()> {
        let charge = self.charge.get_or_insert_with(|| memory.empty());
        charge.admit((data.len() * 2 + PIECE_BYTES) as u64)?;
        self.values.entry(param).or_default().extend_from_slice(data);
        Ok(())
    }
}

impl Statement {
    /// Forgets the pieces of its next values.
    fn lose(&mut self, failure: Failure) {
        self.long = Long::default();
        self.broken = Some(failure);
    }
}

impl Connection {
    pub(super) async fn prepare(&mut self, sql: String) -> Result<(), Halt> {
        if text::is_empty(&sql) {
            return Err(Failure::new(failure::EMPTY_QUERY, "Query was empty").into());
        }
        if self.statements.len() >= STATEMENTS_MAX {
            let text = format!("Can't create more than {STATEMENTS_MAX} prepared statements on a connection");
            return Err(Failure::new(failure::TOO_MANY_STATEMENTS, text).into());
        }
        let execution = self.start(&sql);
        let (gateway, session, text) = (self.shared.gateway.clone(), self.session.clone(), sql.clone());
        let prepared = self.watched(&execution, async move { gateway.prepare(&session, &text).await }).await?;
        drop(execution);
        let columns = prepared.schema.as_ref().map(|schema| Column::all(schema)).unwrap_or_default();
        let too_many = || Failure::new(failure::TOO_MANY_FIELDS, "Too many columns or parameters");
        let column_count = u16::try_from(columns.len()).map_err(|_| too_many())?;
        let param_count = u16::try_from(prepared.params.len()).map_err(|_| too_many())?;
        let params = prepared.params;
        let per_param = size_of::<Option<DataType>>() + size_of::<params::Sent>() + size_of::<Value>();
        let held = size_of::<Statement>() + sql.len() + params.len() * per_param;
        let charge = self.shared.memory.admit(held as u64)?;
        let id = self.next_statement;
        self.next_statement = id.wrapping_add(1);
        self.wire.outbox.put(|out| {
            out.put_u8(0);
            out.put_u32_le(id);
            out.put_u16_le(column_count);
            out.put_u16_le(param_count);
            out.put_u8(0);
            out.put_u16_le(0);
        });
        for _ in 0..param_count {
            self.wire.outbox.put(kind::parameter);
        }
        if param_count > 0 {
            self.end_of_definitions();
        }
        for column in &columns {
            self.wire.outbox.put(|out| kind::definition(out, column, ""));
        }
        if column_count > 0 {
            self.end_of_definitions();
        }
        let long = Long::default();
        let statement = Statement { sql, params, types: Vec::new(), long, broken: None, _charge: charge };
        self.statements.insert(id, statement);
        Ok(())
    }

    fn statement(&mut self, id: u32) -> Result<&mut Statement, Failure> {
        let missing = || Failure::new(failure::UNKNOWN_STATEMENT, format!("Unknown prepared statement handler ({id})"));
        self.statements.get_mut(&id).ok_or_else(missing)
    }

    /// A piece of a value. Never answered.
    pub(super) fn long_data(&mut self, id: u32, param: u16, data: &[u8]) {
        let memory = self.shared.memory.clone();
        let held =
            self.statements.values().flat_map(|statement| statement.long.values.values()).map(Vec::len).sum::<usize>();
        let Ok(statement) = self.statement(id) else { return };
        if statement.broken.is_some() {
            return;
        }
        if usize::from(param) >= statement.params.len() {
            statement.broken = Some(Failure::new(failure::WRONG_ARGUMENTS, "long data for an unknown parameter"));
        } else if held + data.len() > BODY_BYTES_MAX {
            let code = failure::code(ErrorKind::InvalidRequest, Reason::TooLarge);
            let text = format!("long data of all parameters exceeds {BODY_BYTES_MAX} bytes");
            statement.lose(Failure::new(code, text));
        } else if let Err(error) = statement.long.push(param, data, &memory) {
            statement.lose(Failure::of(&error));
        }
    }

    /// A piece of a value that was thrown away. Never answered.
    pub(super) fn lost(&mut self, id: u32, failure: Failure) {
        if let Ok(statement) = self.statement(id) {
            statement.lose(failure);
        }
    }

    /// Drops the pieces of values.
    pub(super) fn reset(&mut self, id: u32) -> Result<(), Failure> {
        let statement = self.statement(id)?;
        statement.long = Long::default();
        statement.broken = None;
        Ok(())
    }

    pub(super) async fn execute(&mut self, id: u32, values: Bytes) -> Result<(), Halt> {
        let statement = self.statement(id)?;
        let long = std::mem::take(&mut statement.long);
        if let Some(failure) = statement.broken.take() {
            return Err(failure.into());
        }
        let params = params::values(&values, &statement.params, &mut statement.types, &long.values)?;
        let text = statement.sql.clone();
        let execution = self.start(&text);
        self.answer(Query::Sql { text, params }, Format::Binary, &execution).await
    }
}
