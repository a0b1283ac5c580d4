//! Prepared statements: texts with `?`, run with values in binary and answered in binary.

mod params;

use std::collections::BTreeMap;

use arrow_schema::DataType;
use bytes::{BufMut, Bytes};
use varve_model::limits::{BODY_BYTES_MAX, SQL_TEXT_BYTES_MAX};
use varve_model::{ErrorKind, Reason};

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
    long: BTreeMap<u16, Vec<u8>>,
    /// Why the pieces cannot be used; told at the execution, since pieces are not answered.
    broken: Option<Failure>,
}

impl Connection {
    pub(super) async fn prepare(&mut self, sql: String) -> Result<(), Halt> {
        if sql.len() > SQL_TEXT_BYTES_MAX {
            let code = failure::code(ErrorKind::InvalidRequest, Reason::TooLarge);
            return Err(Failure::new(code, format!("SQL text is longer than {SQL_TEXT_BYTES_MAX} bytes")).into());
        }
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
        let params = prepared.params;
        let statement = Statement { sql, params, types: Vec::new(), long: BTreeMap::new(), broken: None };
        self.statements.insert(id, statement);
        Ok(())
    }

    fn statement(&mut self, id: u32) -> Result<&mut Statement, Failure> {
        let missing = || Failure::new(failure::UNKNOWN_STATEMENT, format!("Unknown prepared statement handler ({id})"));
        self.statements.get_mut(&id).ok_or_else(missing)
    }

    /// A piece of a value. Never answered.
    pub(super) fn long_data(&mut self, id: u32, param: u16, data: &[u8]) {
        let held = self.statements.values().flat_map(|statement| statement.long.values()).map(Vec::len).sum::<usize>();
        let Ok(statement) = self.statement(id) else { return };
        if usize::from(param) >= statement.params.len() {
            statement.broken = Some(Failure::new(failure::WRONG_ARGUMENTS, "long data for an unknown parameter"));
        } else if held + data.len() > BODY_BYTES_MAX {
            let code = failure::code(ErrorKind::InvalidRequest, Reason::TooLarge);
            let text = format!("long data of all parameters exceeds {BODY_BYTES_MAX} bytes");
            statement.long.clear();
            statement.broken = Some(Failure::new(code, text));
        } else {
            statement.long.entry(param).or_default().extend_from_slice(data);
        }
    }

    /// Drops the pieces of values.
    pub(super) fn reset(&mut self, id: u32) -> Result<(), Failure> {
        let statement = self.statement(id)?;
        statement.long.clear();
        statement.broken = None;
        Ok(())
    }

    pub(super) async fn execute(&mut self, id: u32, values: Bytes) -> Result<(), Halt> {
        let statement = self.statement(id)?;
        let long = std::mem::take(&mut statement.long);
        if let Some(failure) = statement.broken.take() {
            return Err(failure.into());
        }
        let params = params::values(&values, &statement.params, &mut statement.types, &long)?;
        let text = statement.sql.clone();
        let execution = self.start(&text);
        self.answer(Query::Sql { text, params }, Format::Binary, &execution).await
    }
}
