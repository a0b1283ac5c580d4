//! Statements from text to answer: parse, then one file per kind.
//!
//! The only room that knows language, plan and ingest; those never use each other.

mod admin;
mod ddl;
mod delete;
mod insert;
mod kill;
mod plans;
mod prepare;
mod query;
mod set;
mod show;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use datafusion::execution::SessionState;
use varve_model::value::Value;
use varve_model::{Error, Reason, Result};
use varve_proto::metasrv::{Procedure, TableName};
use varve_protocol::gateway::{Prepared, Query};
use varve_protocol::output::{Output, SessionChange};
use varve_protocol::session::{Session, Wire};
use varve_query::context::Sessions;
use varve_query::zone::Zone;
use varve_service::clock::SharedClock;

use crate::catalog::Catalogs;
use crate::cluster::{Clients, Feed, Table, View};
use crate::config::ExchangeMode;
use crate::deadline::Deadline;
use crate::ingest::{Dispatch, statement_key};
use crate::language::sql::{Name, Statement, parse, parse_mysql};
use crate::process::Peers;

use plans::Plans;

/// Conducts statements through the other rooms.
#[derive(Debug)]
pub(crate) struct Conductor {
    peers: Arc<Peers>,
    feed: Arc<Feed>,
    clients: Arc<Clients>,
    clock: SharedClock,
    sessions: Sessions,
    dispatch: Dispatch,
    exchange: ExchangeMode,
    plans: Plans,
}

/// One statement's surroundings.
#[derive(Clone, Debug)]
struct Scope {
    session: Session,
    zone: Zone,
    params: Vec<Value>,
    deadline: Deadline,
    /// What the idempotency tokens of its rows are made of.
    key: Option<u128>,
}

impl Conductor {
    pub(crate) fn new(
        peers: Arc<Peers>,
        clients: Arc<Clients>,
        clock: SharedClock,
        sessions: Sessions,
        dispatch: Dispatch,
        exchange: ExchangeMode,
    ) -> Self {
        let feed = Arc::clone(peers.feed());
        Self { peers, feed, clients, clock, sessions, dispatch, exchange, plans: Plans::new() }
    }

    /// Runs all statements of a text in order; the first failing one ends it.
    pub(crate) async fn run(&self, session: &Session, query: Query) -> Result<Vec<Output>> {
        let Query::Sql { text, params } = query;
        let mut scope = self.scope(session, params)?;
        let mut outputs = Vec::new();
        for (number, statement) in statements(&scope, &text)?.into_iter().enumerate() {
            scope.key = statement_key(session, &text, &scope.params, number);
            let output = Box::pin(self.one(&scope, statement)).await?;
            // Later statements of the same text see the change, as on a connection.
            if let Output::Set { change, .. } = &output {
                apply(&mut scope, change)?;
            }
            outputs.push(output);
        }
        Ok(outputs)
    }

    /// Plans one statement without running it.
    pub(crate) async fn prepare(&self, session: &Session, sql: &str) -> Result<Prepared> {
        let scope = self.scope(session, Vec::new())?;
        let mut statements = statements(&scope, sql)?;
        match (statements.pop(), statements.is_empty()) {
            (None, _) => Ok(Prepared { params: Vec::new(), schema: None }),
            (Some(statement), true) => Box::pin(self.prepare_one(&scope, statement)).await,
            (Some(_), false) => {
                Err(Error::invalid("a prepared statement is one statement only").with_reason(Reason::Syntax))
            }
        }
    }

    fn scope(&self, session: &Session, params: Vec<Value>) -> Result<Scope> {
        Ok(Scope {
            session: session.clone(),
            zone: Zone::parse(&session.time_zone)?,
            params,
            deadline: Deadline::of(session, &self.clock),
            key: None,
        })
    }

    async fn one(&self, scope: &Scope, statement: Statement) -> Result<Output> {
        match statement {
            Statement::Query(query) => Box::pin(self.query(scope, *query)).await,
            Statement::Explain { analyze, verbose, query } => {
                Box::pin(self.explain(scope, *query, analyze, verbose)).await
            }
            Statement::Insert(insert) => self.insert(scope, *insert).await,
            Statement::Delete(delete) => self.delete(scope, *delete).await,
            Statement::CreateDatabase(create) => self.create_database(scope, create).await,
            Statement::CreateTable(create) => self.create_table(scope, *create).await,
            Statement::AlterTable { table, actions } => self.alter_table(scope, table, actions).await,
            Statement::AlterDatabase { database, ttl } => self.alter_database(scope, database, ttl).await,
            Statement::Drop(drop) => self.drop(scope, drop).await,
            Statement::Truncate(table) => self.truncate(scope, table).await,
            Statement::Admin { function, action, table } => self.admin(scope, &function, action, &table).await,
            Statement::Show(show) => self.show(scope, show).await,
            Statement::Kill(kill) => self.kill(kill).await,
            Statement::Describe(table) => self.describe(scope, &table),
            Statement::Use(database) => self.use_database(database, "USE"),
            Statement::Set(setting) => Ok(self.set(setting)),
            Statement::Transaction(verb) => Ok(Output::Set { verb, change: SessionChange::Ignored }),
        }
    }

    /// A DataFusion session over this view.
    fn state(&self, scope: &Scope, view: &Arc<View>) -> SessionState {
        let catalogs = Arc::new(Catalogs::new(Arc::clone(view), Arc::clone(&self.peers), &scope.session));
        self.sessions.planning(catalogs, &scope.session.database, &scope.session.time_zone)
    }

    /// Carries out a change of the catalog; later statements see it.
    async fn execute(&self, scope: &Scope, procedure: Procedure) -> Result<bool> {
        self.feed.execute(&scope.deadline.call(), procedure).await
    }
}

/// Statements of a text, written by the rules of the wire that it came by.
fn statements(scope: &Scope, text: &str) -> Result<Vec<Statement>> {
    match scope.session.wire {
        Wire::Mysql => parse_mysql(text, scope.zone),
        Wire::Influx | Wire::HttpSql | Wire::Postgres => parse(text, scope.zone),
    }
}

/// The full name of a table in this scope.
fn full_name(scope: &Scope, name: Name) -> TableName {
    TableName { database: name.database.unwrap_or_else(|| scope.session.database.clone()), table: name.table }
}

/// A count as an answer.
fn count(verb: &'static str, rows: u64) -> Output {
    Output::Count { verb, rows }
}

/// What a statement changed holds for the rest of its text.
fn apply(scope: &mut Scope, change: &SessionChange) -> Result<()> {
    match change {
        SessionChange::Database(database) => scope.session.database.clone_from(database),
        SessionChange::TimeZone(zone) => {
            scope.zone = Zone::parse(zone)?;
            scope.session.time_zone.clone_from(zone);
        }
        SessionChange::Ignored => {}
    }
    Ok(())
}

/// The table that a name means in this scope. Errors: `NotFound`.
fn table_of(scope: &Scope, view: &View, name: &Name) -> Result<Arc<Table>> {
    let database = name.database.as_ref().unwrap_or(&scope.session.database);
    view.table(database, &name.table).cloned()
}
