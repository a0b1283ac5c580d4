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
            first = rows.end;
            encode_rows(connection, &cells, &columns, style, rows).await?;
            if connection.wire.outbox.bytes.len() > OUTBOX_BYTES {
                connection.wire.flush_for(execution).await?;
            }
        }
    }
    Ok(())
}

async fn encode_rows(
    connection: &mut Connection,
    cells: &Arc<Vec<Cells>>,
    columns: &Arc<Vec<Column>>,
    style: Style,
    rows: std::ops::Range<usize>,
) -> Result<()> {
    let inline = rows.len() * columns.len() <= INLINE_CELLS_MAX;
    let (cells, columns) = (Arc::clone(cells), Arc::clone(columns));
    let mut out = std::mem::take(&mut connection.wire.outbox);
    let work = move || {
        let timer = StageTimer::start(Stage::Encode);
        let (before, count) = (out.bytes.len(), rows.len());
        encode::rows(&mut out, &cells, &columns, style, rows);
        timer.finish(count, out.bytes.len() - before);
        out
    };
    connection.wire.outbox = if inline { work() } else { connection.shared.tasks.blocking("encode", work).await? };
    Ok(())
}

async fn next_batch(stream: &mut RowStream) -> Result<Option<arrow_array::RecordBatch>> {
    stream.next().await.transpose().map_err(|error: Error| error.context("read rows"))
}
