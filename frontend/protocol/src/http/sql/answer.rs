//! Rows out of the database's streams into an HTTP body.
//!
//! The first bytes are held back: as long as they are, an error becomes a
//! status. A longer answer streams, with bounded memory, and an error then
//! breaks the connection off, so that no client takes the half for the whole.
//! For the same reason the end of the pieces is a piece: an encoder that is lost
//! without a word is an error. Its place is kept free from the start, so that a
//! statement whose client stopped reading can end.

use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::{HeaderValue, StatusCode};
use tokio::sync::mpsc;
use varve_model::limits::ANSWER_HELD_BYTES_MAX;
use varve_model::{Error, Result};
use varve_service::telemetry::stage::{Stage, StageTimer};

use super::super::{App, reply};
use super::encode::{Batch, Encoder, Format};
use super::{elapsed, error};
use crate::output::column::{Cells, Column};
use crate::output::{Output, RowStream};
use crate::process::{Ended, Execution};

/// Bytes of a piece of the body.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces between the encoder and the connection, beside the last one.
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
    /// Ends before the last piece is read.
    pub(super) execution: Execution,
}

/// What comes from the encoder.
#[derive(Debug)]
enum Piece {
    Bytes(Bytes),
    /// That was all.
    End,
    /// There is no more, and why.
    Broken(Error),
}

/// The next piece; `None` after the last. Errors: why there is no more.
async fn next(pieces: &mut mpsc::Receiver<Piece>) -> Result<Option<Bytes>> {
    match pieces.recv().await {
        Some(Piece::Bytes(bytes)) => Ok(Some(bytes)),
        Some(Piece::End) => Ok(None),
        Some(Piece::Broken(error)) => Err(error),
        None => Err(Error::internal("the answer's encoder ended without a word")),
    }
}

/// The pieces from here on.
fn rest(pieces: mpsc::Receiver<Piece>) -> impl Stream<Item = Result<Bytes>> {
    stream::unfold(Some(pieces), |pieces| async move {
        let mut pieces = pieces?;
        match next(&mut pieces).await.transpose()? {
            Ok(bytes) => Some((Ok(bytes), Some(pieces))),
            Err(error) => {
                tracing::warn!(?error, "SQL answer broken off");
                Some((Err(error), None))
            }
        }
    })
}

impl Answer {
    /// The response; its rows may still be on their way.
    pub(super) async fn respond(self) -> Result<Response> {
        let (app, format, started) = (self.app.clone(), self.format, self.started);
        let (sender, mut pieces) = mpsc::channel(PIECES_QUEUED + 1);
        let last = sender.clone().try_reserve_owned().expect("a new channel has room");
        app.tasks.spawn("sql answer", self.produce(sender, last));
        let mut held = Vec::new();
        let mut charge = app.setup.memory.charge(0)?;
        let whole = loop {
            let Some(piece) = next(&mut pieces).await? else { break true };
            charge.absorb(app.setup.memory.charge(piece.len() as u64)?);
            held.push(piece);
            if charge.bytes() > ANSWER_HELD_BYTES_MAX as u64 {
                break false;
            }
        };
        let body = if whole {
            Body::from(held.concat())
        } else {
            Body::from_stream(stream::iter(held.into_iter().map(Ok)).chain(rest(pieces)))
        };
        let mut response = reply::text(StatusCode::OK, format.content_type(), body);
        let headers = response.headers_mut();
        headers.insert("x-greptime-format", HeaderValue::from_static(format.name()));
        let spent = elapsed(&app, started).as_millis() as u64;
        headers.insert("x-greptime-execution-time", HeaderValue::from(spent));
        Ok(response)
    }

    /// Writes all pieces; ends early when nobody reads them.
    async fn produce(self, sender: mpsc::Sender<Piece>, last: mpsc::OwnedPermit<Piece>) {
        let Self { app, outputs, format, limit, started, execution } = self;
        let mut writer = Writer { app, encoder: Some(format.encoder()), out: Vec::new(), sender: &sender };
        let outcome = execution.bound(sender.closed(), writer.all(outputs, limit, started)).await;
        // Who reads the last piece finds the statement ended.
        drop(execution);
        last.send(match outcome {
            Ok(Ok(())) => Piece::End,
            Ok(Err(error)) => Piece::Broken(error),
            Err(ended) => Piece::Broken(error::of(ended)),
        });
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
            self.sender.send(Piece::Bytes(piece)).await.map_err(|_| error::of(Ended::Gone))?;
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
