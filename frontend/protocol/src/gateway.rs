//! The one door from every wire into the database.

use std::fmt::Debug;

use arrow_schema::{DataType, SchemaRef};
use async_trait::async_trait;
use varve_model::Result;
use varve_model::id::process::Cancel;
use varve_model::rows::Rows;
use varve_model::schema::StoredType;
use varve_model::value::Value;

use crate::output::Output;
use crate::process::Processes;
use crate::session::Session;

/// What the database does for clients.
#[async_trait]
pub trait Gateway: Debug + Send + Sync + 'static {
    /// Stores rows; tables and columns appear by themselves. Returns when all
    /// stored rows are durable and readable. Rows that cannot be stored are
    /// named in the outcome and do not keep the others out.
    ///
    /// Errors: `NotFound/Database`; retryable kinds, after which any part may have been stored.
    async fn write(&self, session: &Session, rows: Rows) -> Result<Written>;

    /// Plans one statement without running it.
    async fn prepare(&self, session: &Session, sql: &str) -> Result<Prepared>;

    /// Runs a text of one or more statements in order; the first failing one ends it.
    async fn run(&self, session: &Session, query: Query) -> Result<Vec<Output>>;

    /// Ends a statement or a connection, wherever in the cluster it is.
    ///
    /// Errors: `NotFound/Process` when there is none of this number, or the secret is wrong; retryable
    /// kinds, after which it may have ended or not.
    async fn cancel(&self, cancel: Cancel) -> Result<()>;

    /// The connections of this frontend: the wires enter theirs here.
    fn processes(&self) -> &Processes;
}

/// A query in one of the languages.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// SQL.
    Sql {
        /// One or more statements.
        text: String,
        /// Values of `$1`, `$2`, ..
        params: Vec<Value>,
    },
}

/// A statement that can run later.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// Types of `$1`, `$2`, ..; `None` where any type fits.
    pub params: Vec<Option<DataType>>,
    /// Columns of the answer; `None` when it answers no rows.
    pub schema: Option<SchemaRef>,
}

/// What became of written rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Written {
    /// Rows stored.
    pub rows: u64,
    /// Rows refused, in request order.
    pub refused: Vec<Refused>,
}

/// A row that was not stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// Its place in the request ([`varve_model::rows::TableRows::origin`]).
    pub origin: u32,
    /// Why.
    pub cause: RefusedCause,
}

/// Why a row was not stored. Protocols make their own texts of it.
#[derive(Clone, Debug, PartialEq)]
pub enum RefusedCause {
    /// A field has another type than the table's or the request's first row's.
    FieldType {
        /// The table.
        table: String,
        /// The field.
        field: String,
        /// The row's type.
        input: StoredType,
        /// The column's type.
        existing: StoredType,
    },
    /// A name is both tag and field, or is the time index.
    Role {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// What the column is.
        existing: &'static str,
        /// What the row uses it as.
        input: &'static str,
    },
    /// Older than the table's ttl.
    Expired,
    /// A limit or rule, in words.
    Rule(String),
}
