//! What a statement answers.

pub mod column;
pub(crate) mod float;

use std::fmt::Debug;
use std::pin::Pin;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::{Stream, TryStreamExt};
use varve_model::Result;

/// A stream of batches.
pub type RowStream = Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>>;

/// Field metadata key that marks a text column as JSON.
pub const LOGICAL_TYPE_KEY: &str = "varve.type";

/// The answer to one statement.
pub enum Output {
    /// Rows.
    Rows {
        /// Schema of every batch. Field metadata may hold [`LOGICAL_TYPE_KEY`].
        schema: SchemaRef,
        /// The batches.
        stream: RowStream,
    },
    /// A number of rows written or deleted, or 0 for DDL.
    Count {
        /// The statement's verb in upper case, for command tags (`INSERT`, `CREATE TABLE`).
        verb: &'static str,
        /// Rows.
        rows: u64,
    },
    /// The connection's session changes.
    Set {
        /// The statement's verb.
        verb: &'static str,
        /// What changes.
        change: SessionChange,
    },
}

/// A change of a connection's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionChange {
    /// USE, or SET search_path.
    Database(String),
    /// SET TIME ZONE.
    TimeZone(String),
    /// A setting that clients send and varve has no use for.
    Ignored,
}

impl Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rows { schema, .. } => f.debug_struct("Rows").field("schema", schema).finish_non_exhaustive(),
            Self::Count { verb, rows } => f.debug_struct("Count").field("verb", verb).field("rows", rows).finish(),
            Self::Set { verb, change } => f.debug_struct("Set").field("verb", verb).field("change", change).finish(),
        }
    }
}

impl Output {
    /// All rows at once, for answers that are one document. Precondition: the caller bounds their size.
    pub async fn collect(stream: RowStream) -> Result<Vec<RecordBatch>> {
        stream.try_collect().await
    }
}
