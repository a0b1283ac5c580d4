//! A stream of record batches on the wire: pieces of one Arrow IPC stream.
//!
//! The sender encodes a piece when the transport asks for it, so that what is in
//! flight is bounded by the HTTP/2 window; large batches are cut. A receiver
//! that goes away drops the sender's stream, which ends the work behind it.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::convert::try_schema_from_ipc_buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::ArrowError;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use tonic::Status;
use varve_model::{Error, Result};

use crate::datanode::{BatchStream, ScanReply};
use crate::status::{from_status, to_status};
use crate::wire::ScanChunk;

#[cfg(test)]
mod tests;

/// Bytes of one piece, roughly: large against the framing, small against the memory of a process. Of a stream whose
/// reader waits, the transport holds up to two.
pub(crate) const PIECE_BYTES: usize = 512 << 10;

/// The pieces of a reply: first the schema, then the batches. An error ends it with its status.
pub(crate) fn encode(reply: ScanReply) -> Result<impl Stream<Item = Result<ScanChunk, Status>> + Send> {
    let mut writer = StreamWriter::try_new(Vec::new(), &reply.schema).map_err(|error| cannot("encode", error))?;
    let schema = ScanChunk { ipc: take(&mut writer) };
    let state = Encoder { writer, batches: reply.stream, rest: None };
    let batches = futures::stream::unfold(Some(state), |state| async move {
        let mut state = state?;
        match state.next().await? {
            Ok(chunk) => Some((Ok(chunk), Some(state))),
            Err(error) => Some((Err(to_status(&error)), None)),
        }
    });
    Ok(futures::stream::iter([Ok(schema)]).chain(batches))
}

struct Encoder {
    writer: StreamWriter<Vec<u8>>,
    batches: BatchStream,
    /// What is left of a batch that was cut.
    rest: Option<RecordBatch>,
}

impl Encoder {
    async fn next(&mut self) -> Option<Result<ScanChunk>> {
        let batch = match self.rest.take() {
            Some(batch) => batch,
            None => match self.batches.next().await? {
                Ok(batch) => batch,
                Err(error) => return Some(Err(error)),
            },
        };
        let rows = rows_per_piece(&batch);
        let piece = if rows < batch.num_rows() {
            self.rest = Some(batch.slice(rows, batch.num_rows() - rows));
            batch.slice(0, rows)
        } else {
            batch
        };
        Some(match self.writer.write(&piece) {
            Ok(()) => Ok(ScanChunk { ipc: take(&mut self.writer) }),
            Err(error) => Err(cannot("encode", error)),
        })
    }
}

/// What was written since the last piece.
fn take(writer: &mut StreamWriter<Vec<u8>>) -> Bytes {
    std::mem::take(writer.get_mut()).into()
}

fn rows_per_piece(batch: &RecordBatch) -> usize {
    let rows = batch.num_rows();
    let sizes = batch.columns().iter().map(|column| {
        let data = column.to_data();
        data.get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size())
    });
    let bytes = sizes.sum::<usize>();
    if bytes <= PIECE_BYTES { rows } else { (rows * PIECE_BYTES / bytes).max(1) }
}

fn cannot(what: &str, error: ArrowError) -> Error {
    Error::internal(format!("cannot {what} a batch: {error}")).with_source(error)
}

/// The reply that the pieces make. Returns when the schema is there.
/// Errors: what the sender or the transport said; `Unavailable` for malformed pieces.
pub(crate) async fn decode(
    mut pieces: impl Stream<Item = Result<ScanChunk, Status>> + Send + Unpin + 'static,
) -> Result<ScanReply> {
    let first = match pieces.next().await {
        Some(Ok(first)) => first.ipc,
        Some(Err(status)) => return Err(from_status(&status)),
        None => return Err(malformed("it ends before its schema")),
    };
    // Read apart, because the decoder takes a message up only when bytes follow it.
    let schema = try_schema_from_ipc_buffer(&first).map_err(|error| malformed(&error.to_string()))?;
    let decoder = Decoder { pieces, batches: StreamDecoder::new(), input: Buffer::from(first), has_ended: false };
    let batches = futures::stream::unfold(Some(decoder), |decoder| async move {
        let mut decoder = decoder?;
        match decoder.next().await? {
            Ok(batch) => Some((Ok(batch), Some(decoder))),
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(ScanReply { schema: Arc::new(schema), stream: Box::pin(batches) })
}

/// End of an Arrow IPC stream; also makes the decoder take up a last message without a body.
const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

struct Decoder<S> {
    pieces: S,
    batches: StreamDecoder,
    input: Buffer,
    has_ended: bool,
}

impl<S: Stream<Item = Result<ScanChunk, Status>> + Unpin> Decoder<S> {
    async fn next(&mut self) -> Option<Result<RecordBatch>> {
        loop {
            match self.batches.decode(&mut self.input) {
                Ok(Some(batch)) => return Some(Ok(batch)),
                Ok(None) if self.has_ended => return None,
                Ok(None) => {}
                Err(error) => return Some(Err(malformed(&error.to_string()))),
            }
            match self.pieces.next().await {
                Some(Ok(piece)) => self.input = Buffer::from(piece.ipc),
                Some(Err(status)) => return Some(Err(from_status(&status))),
                None => {
                    self.input = Buffer::from(END.as_slice());
                    self.has_ended = true;
                }
            }
        }
    }
}

fn malformed(what: &str) -> Error {
    Error::unavailable(format!("a datanode's stream of batches is malformed: {what}"))
}
