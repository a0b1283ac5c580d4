//! Rows on their way to the client: a stream, and what of its last batch is left.

use std::sync::Arc;

use bytes::BytesMut;
use futures::StreamExt;
use varve_model::budget::{Account, Charge};
use varve_model::{Error, Result};
use varve_service::telemetry::stage::{Stage, StageTimer};

use super::connection::Connection;
use super::encode;
use super::failure::Halt;
use super::kind::Format;
use crate::output::RowStream;
use crate::output::column::{Cells, Column};
use crate::process::Execution;
use crate::stream::OUTBOX_BYTES;

/// Cells of a batch above which encoding leaves the event loop.
const INLINE_CELLS_MAX: usize = 4096;
/// Rows encoded at once: a wide batch must not become one huge buffer.
const ROWS_AT_ONCE: usize = 1024;

/// The rows of one statement.
pub(super) struct Cursor {
    pub(super) columns: Arc<Vec<Column>>,
    formats: Arc<Vec<Format>>,
    stream: RowStream,
    batch: Arc<Vec<Cells>>,
    rows: usize,
    next: usize,
    /// Bytes of the batch.
    bytes: u64,
    /// For the batch, while the client has not asked for the rest of it.
    waiting: Option<Charge>,
}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cursor").field("columns", &self.columns).finish_non_exhaustive()
    }
}

impl Cursor {
    pub(super) fn new(columns: Vec<Column>, formats: &[i16], stream: RowStream) -> Self {
        let formats = (0..columns.len()).map(|at| Format::of(formats, at)).collect();
        let (columns, batch) = (Arc::new(columns), Arc::default());
        Self { columns, formats: Arc::new(formats), stream, batch, rows: 0, next: 0, bytes: 0, waiting: None }
    }

    /// Sends up to `rows_max` rows (0: all). Returns how many, and whether more may follow.
    pub(super) async fn send(
        &mut self,
        connection: &mut Connection,
        execution: &Execution,
        rows_max: usize,
    ) -> Result<(u64, bool), Halt> {
        drop(self.waiting.take());
        let mut sent = 0;
        loop {
            if rows_max > 0 && sent == rows_max {
                return Ok((sent as u64, true));
            }
            if self.next == self.rows {
                let Some(batch) = connection.watched(execution, next_batch(&mut self.stream)).await? else {
                    return Ok((sent as u64, false));
                };
                self.batch = Arc::new(Cells::all(&batch, &self.columns)?);
                (self.rows, self.next) = (batch.num_rows(), 0);
                self.bytes = batch.get_array_memory_size() as u64;
                continue;
            }
            let wanted = if rows_max == 0 { usize::MAX } else { rows_max - sent };
            let count = (self.rows - self.next).min(wanted).min(ROWS_AT_ONCE);
            sent += self.encode(connection, count).await?;
            if connection.wire.outbox.len() > OUTBOX_BYTES {
                connection.wire.flush_for(execution).await?;
            }
        }
    }

    /// Encodes up to `count` rows. Returns how many.
    async fn encode(&mut self, connection: &mut Connection, count: usize) -> Result<usize> {
        let first = self.next;
        let rows = first..first + count;
        let (cells, columns, formats) = (self.batch.clone(), self.columns.clone(), self.formats.clone());
        let mut out = std::mem::take(&mut connection.wire.outbox);
        let work = move || -> (BytesMut, usize) {
            let timer = StageTimer::start(Stage::Encode);
            let before = out.len();
            let next = encode::rows(&mut out, &cells, &columns, &formats, rows);
            timer.finish(next - first, out.len() - before);
            (out, next)
        };
        (connection.wire.outbox, self.next) = if count * self.columns.len() <= INLINE_CELLS_MAX {
            work()
        } else {
            connection.shared.tasks.blocking("encode", work).await?
        };
        Ok(self.next - first)
    }

    /// Charges the rows that are left until the next [`send`](Self::send). Errors: `Busy`.
    pub(super) fn wait(&mut self, memory: &Account) -> Result<()> {
        self.waiting = Some(memory.charge(self.bytes)?);
        Ok(())
    }
}

async fn next_batch(stream: &mut RowStream) -> Result<Option<arrow_array::RecordBatch>> {
    stream.next().await.transpose().map_err(|error: Error| error.context("read rows"))
}
