//! ADMIN: orders to every region of a table; the answer comes when the work is done.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use futures::stream;
use varve_model::Result;
use varve_proto::metasrv::{Procedure, RegionAction, TableName};
use varve_protocol::output::Output;

use super::{Conductor, Scope};

impl Conductor {
    pub(super) async fn admin(
        &self,
        scope: &Scope,
        function: &str,
        action: RegionAction,
        table: &str,
    ) -> Result<Output> {
        let (database, name) = table.rsplit_once('.').unwrap_or((&scope.session.database, table));
        // A name that may itself hold a dot is looked up whole first.
        let view = self.feed.view();
        let whole = view.table(&scope.session.database, table).is_ok();
        let (database, name) = if whole { (scope.session.database.as_str(), table) } else { (database, name) };
        view.table(database, name)?;
        let table = TableName { database: database.to_owned(), table: name.to_owned() };
        self.execute(scope, Procedure::EachRegion { table: table.clone(), action }).await?;
        // As GreptimeDB: a SELECT of the function, which answers 0 rows affected.
        let title = format!("ADMIN {function}('{}')", table.table);
        let schema = Arc::new(Schema::new(vec![Field::new(title, DataType::Int64, false)]));
        let zero: ArrayRef = Arc::new(Int64Array::from(vec![0]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![zero]).expect("one column of one row");
        Ok(Output::Rows { schema, stream: Box::pin(stream::iter([Ok(batch)])) })
    }
}
