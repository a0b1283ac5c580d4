//! Rows on their way to the client.

use std::sync::Arc;

use futures::StreamExt;
use varve_model::{Error, Result};
use varve_service::telemetry::stage::{Stage, StageTimer};

use super::connection::Connection;
use super::encode::{self, Style};
use super::failure::Halt;
use crate::output::RowStream;
use crate::output::column::{Cells, Column};
use crate::process::Execution;
use crate::stream::OUTBOX_BYTES;

/// Cells of a batch above which encoding leaves the event loop.
const INLINE_CELLS_MAX: usize = 4096;
/// Rows encoded at once: a wide batch must not become one huge buffer.
const ROWS_AT_ONCE: usize = 1024;

/// Sends all rows of a statement.
pub(super) async fn send(
    connection: &mut Connection,
    execution: &Execution,
    columns: Arc<Vec<Column>>,
    style: Style,
    mut stream: RowStream,
) -> Result<(), Halt> {
    while let Some(batch) = connection.watched(execution, next_batch(&mut stream)).await? {
        let cells = Arc::new(Cells::all(&batch, &columns)?);
        let mut first = 0;
        while first < batch.num_rows() {
            let rows = first..batch.num_rows().min(first + ROWS_AT_ONCE);
            first = encode_rows(connection, &cells, &columns, style, rows).await?;
            if connection.wire.outbox.bytes.len() > OUTBOX_BYTES {
                connection.wire.flush_for(execution).await?;
            }
        }
    }
    Ok(())
}

/// Encodes rows until there is much to send. Returns the first row that is left.
async fn encode_rows(
    connection: &mut Connection,
    cells: &Arc<Vec<Cells>>,
    columns: &Arc<Vec<Column>>,
    style: Style,
    rows: std::ops::Range<usize>,
) -> Result<usize> {
    let inline = rows.len() * columns.len() <= INLINE_CELLS_MAX;
    let (cells, columns) = (Arc::clone(cells), Arc::clone(columns));
    let mut out = std::mem::take(&mut connection.wire.outbox);
    let work = move || {
        let timer = StageTimer::start(Stage::Encode);
        let (before, first) = (out.bytes.len(), rows.start);
        let next = encode::rows(&mut out, &cells, &columns, style, rows);
        timer.finish(next - first, out.bytes.len() - before);
        (out, next)
    };
    let (out, next) = if inline { work() } else { connection.shared.tasks.blocking("encode", work).await? };
    connection.wire.outbox = out;
    Ok(next)
}

async fn next_batch(stream: &mut RowStream) -> Result<Option<arrow_array::RecordBatch>> {
    stream.next().await.transpose().map_err(|error: Error| error.context("read rows"))
}
