//! Rows out of the database's streams into an HTTP body.
//!
//! The first bytes are held back: as long as they are, an error becomes a
//! status. A longer answer streams, with bounded memory, and an error then
//! breaks the connection off, so that no client takes the half for the whole.

use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderValue, StatusCode};
use tokio::sync::mpsc;
use varve_model::limits::ANSWER_HELD_BYTES_MAX;
use varve_model::{Error, Result};
use varve_service::telemetry::stage::{Stage, StageTimer};

use super::super::reply;
use super::super::{App, app};
use super::encode::{Batch, Encoder, Format};
use super::{elapsed, or_killed};
use crate::output::column::{Cells, Column};
use crate::output::{Output, RowStream};
use crate::process::Execution;

/// Bytes of a piece of the body.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces between the encoder and the connection.
const PIECES_QUEUED: usize = 4;
/// Cells of a batch above which encoding leaves the event loop.
const INLINE_CELLS_MAX: usize = 4096;

/// An answer that is about to be written.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) app: App,
    pub(super) outputs: Vec<Output>,
    pub(super) format: Format,
    pub(super) limit: Option<usize>,
    pub(super) started: Duration,
    pub(super) timeout: Duration,
    /// Ends with the last piece.
    pub(super) execution: Execution,
}

type Piece = Result<Bytes, Error>;

impl Answer {
    /// The response; its rows may still be on their way.
    pub(super) async fn respond(self) -> Result<Response> {
        let (app, format, started) = (self.app.clone(), self.format, self.started);
        let (sender, mut pieces) = mpsc::channel::<Piece>(PIECES_QUEUED);
        app.tasks.spawn("sql answer", self.produce(sender));
        let mut held = Vec::new();
        let mut charge = app.setup.memory.charge(0)?;
        let whole = loop {
            match pieces.recv().await {
                None => break true,
                Some(piece) => {
                    let piece = piece?;
                    charge.absorb(app.setup.memory.charge(piece.len() as u64)?);
                    held.push(piece);
                }
            }
            if charge.bytes() > ANSWER_HELD_BYTES_MAX as u64 {
                break false;
            }
        };
        let body = if whole {
            Body::from(held.concat())
        } else {
            let rest = stream::unfold(pieces, |mut pieces| async move { Some((pieces.recv().await?, pieces)) });
            let rest = rest.inspect(|piece| {
                if let Err(error) = piece {
                    tracing::warn!(?error, "SQL answer broken off");
                }
            });
            Body::from_stream(stream::iter(held.into_iter().map(Ok)).chain(rest))
        };
        let mut response = reply::text(StatusCode::OK, format.content_type(), body);
        let headers = response.headers_mut();
        headers.insert("x-greptime-format", HeaderValue::from_static(format.name()));
        let spent = elapsed(&app, started).as_millis() as u64;
        headers.insert("x-greptime-execution-time", HeaderValue::from(spent));
        Ok(response)
    }

    /// Writes all pieces; ends early when nobody reads them.
    async fn produce(self, sender: mpsc::Sender<Piece>) {
        let Self { app, outputs, format, limit, started, timeout, execution } = self;
        let left = timeout.saturating_sub(elapsed(&app, started));
        let mut writer = Writer { app: app.clone(), encoder: Some(format.encoder()), out: Vec::new(), sender: &sender };
        let outcome = tokio::select! {
            outcome = or_killed(&execution, writer.all(outputs, limit, started)) => outcome,
            () = app.setup.clock.sleep(left) => Err(app::timed_out(timeout)),
            // The client has gone: the query ends with this task.
            () = sender.closed() => return,
        };
        if let Err(error) = outcome {
            // A closed channel means that the client has gone.
            let _ = sender.send(Err(error)).await;
        }
    }
}

struct Writer<'s> {
    app: App,
    /// Absent only while it encodes on another thread.
    encoder: Option<Box<dyn Encoder>>,
    out: Vec<u8>,
    sender: &'s mpsc::Sender<Piece>,
}

impl Writer<'_> {
    async fn all(&mut self, outputs: Vec<Output>, limit: Option<usize>, started: Duration) -> Result<()> {
        for output in outputs {
            match output {
                Output::Rows { schema, stream } => self.rows(&schema, stream, limit).await?,
                Output::Count { rows, .. } => self.count(rows).await?,
                Output::Set { .. } => self.count(0).await?,
            }
        }
        let elapsed_ms = elapsed(&self.app, started).as_millis();
        self.encode(0, move |encoder, out| {
            encoder.finish(out, elapsed_ms);
            Ok(())
        })
        .await?;
        self.flush(0).await
    }

    async fn rows(&mut self, schema: &SchemaRef, mut stream: RowStream, limit: Option<usize>) -> Result<()> {
        let columns = std::sync::Arc::new(Column::all(schema));
        let (start_schema, start_columns) = (schema.clone(), columns.clone());
        self.encode(0, move |encoder, out| encoder.rows_start(out, &start_schema, &start_columns)).await?;
        let mut left = limit.unwrap_or(usize::MAX);
        while left > 0 {
            let Some(batch) = stream.next().await else { break };
            let batch = batch?;
            let batch = if batch.num_rows() > left { batch.slice(0, left) } else { batch };
            left -= batch.num_rows();
            let columns = columns.clone();
            self.encode(batch.num_rows() * batch.num_columns(), move |encoder, out| {
                encode_batch(encoder, out, &batch, &columns)
            })
            .await?;
            self.flush(PIECE_BYTES).await?;
        }
        self.encode(0, |encoder, out| encoder.rows_end(out)).await
    }

    async fn count(&mut self, rows: u64) -> Result<()> {
        let work = move |encoder: &mut dyn Encoder, out: &mut Vec<u8>| {
            encoder.count(out, rows);
            Ok(())
        };
        self.encode(0, work).await
    }

    /// Runs the encoder, on another thread when there is much to do.
    async fn encode<F>(&mut self, cells: usize, work: F) -> Result<()>
    where
        F: FnOnce(&mut dyn Encoder, &mut Vec<u8>) -> Result<()> + Send + 'static,
    {
        let mut encoder = self.encoder.take().ok_or_else(|| Error::internal("the encoder is lost after a panic"))?;
        let mut out = std::mem::take(&mut self.out);
        let work = move || {
            let outcome = work(encoder.as_mut(), &mut out);
            (encoder, out, outcome)
        };
        let (encoder, out, outcome) =
            if cells <= INLINE_CELLS_MAX { work() } else { self.app.tasks.blocking("encode", work).await? };
        (self.encoder, self.out) = (Some(encoder), out);
        outcome
    }

    /// Sends what is written when it is more than `bytes_min`.
    async fn flush(&mut self, bytes_min: usize) -> Result<()> {
        if self.out.len() > bytes_min {
            let piece = Bytes::from(std::mem::take(&mut self.out));
            let gone = |_| Error::invalid("the client has gone").with_reason(varve_model::Reason::Cancelled);
            self.sender.send(Ok(piece)).await.map_err(gone)?;
        }
        Ok(())
    }
}

fn encode_batch(encoder: &mut dyn Encoder, out: &mut Vec<u8>, batch: &RecordBatch, columns: &[Column]) -> Result<()> {
    let timer = StageTimer::start(Stage::Encode);
    let before = out.len();
    let cells = Cells::all(batch, columns)?;
    encoder.batch(out, &Batch { raw: batch, cells: &cells, columns })?;
    timer.finish(batch.num_rows(), out.len() - before);
    Ok(())
}
