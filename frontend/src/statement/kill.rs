//! KILL, and PostgreSQL's functions for it.

use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use futures::stream;
use varve_model::id::process::Cancel;
use varve_model::{ErrorKind, Result};
use varve_protocol::output::Output;

use super::{Conductor, count};
use crate::language::sql::Kill;

impl Conductor {
    /// Ends a statement or a connection of any frontend.
    pub(super) async fn kill(&self, kill: Kill) -> Result<Output> {
        let cancel = Cancel { process: kill.process, scope: kill.scope, secret: None };
        let done = self.peers.cancel(cancel).await;
        let Some(name) = kill.function else { return done.map(|()| count("KILL", 0)) };
        let found = match done {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        let schema = answer_schema(name);
        let column = Arc::new(BooleanArray::from(vec![found]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column]).expect("one column of one row");
        Ok(Output::Rows { schema, stream: Box::pin(stream::iter([Ok(batch)])) })
    }
}

/// The one column of a function's answer.
pub(super) fn answer_schema(name: &str) -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(name, DataType::Boolean, false)]))
}
