//! Bytes of one connection: frames in, messages out.

use bytes::{Buf, Bytes, BytesMut};
use pgwire::messages::PgWireBackendMessage;
use tokio::net::TcpStream;
use varve_model::budget::Account;
use varve_model::limits::BODY_BYTES_MAX;
use varve_service::clock::SharedClock;

use super::failure::{Failure, Halt};
use super::frame;
use crate::process::Execution;
use crate::stream::{Packet, Stream};

/// Both directions of a connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Stream,
    /// Messages not sent yet.
    pub(super) outbox: BytesMut,
}

/// Length of a packet's body, from the length that the client announced, which counts itself too.
fn body_len(announced: i32, bytes_max: usize) -> Result<usize, Failure> {
    let len = usize::try_from(announced).ok().filter(|len| *len >= 4);
    let len = len.ok_or_else(|| Failure::fatal("08P01", "invalid message length"))?;
    if len > bytes_max {
        return Err(Failure::fatal("54000", format!("message of {len} bytes is longer than {bytes_max}")));
    }
    Ok(len - 4)
}

impl Wire {
    pub(super) fn new(stream: TcpStream, clock: SharedClock, memory: Account) -> Self {
        Self { stream: Stream::new(stream, clock, memory), outbox: BytesMut::new() }
    }

    /// The first packet of a connection, without its length. It is small, so the account has no say.
    pub(super) async fn startup_packet(&mut self) -> Result<Bytes, Halt> {
        let len = body_len(self.stream.peek(4).await?.get_i32(), frame::STARTUP_BYTES_MAX)?;
        self.stream.skip(4);
        let mut packet = Packet::default();
        self.stream.take(&mut packet, len).await?;
        Ok(packet.open().0)
    }

    /// The next message: its type, and its body without length, or why it was thrown away.
    /// Not to be asked for again after it was dropped.
    pub(super) async fn frame(&mut self) -> Result<(u8, Result<Packet, Failure>), Halt> {
        self.stream.follow(&mut self.outbox);
        let mut header = self.stream.peek(5).await?;
        let kind = header.get_u8();
        let len = body_len(header.get_i32(), BODY_BYTES_MAX)?;
        self.stream.skip(5);
        let mut packet = Packet::default();
        if frame::is_skipped(kind) {
            self.stream.discard(len).await?;
        } else if let Err(error) = self.stream.admit(&mut packet, len) {
            self.stream.discard(len).await?;
            return Ok((kind, Err(Failure::of(&error))));
        } else {
            self.stream.take(&mut packet, len).await?;
        }
        Ok((kind, Ok(packet)))
    }

    /// Resolves when the client closes the connection. Cancel-safe.
    pub(super) async fn gone(&mut self) {
        self.stream.follow(&mut self.outbox);
        self.stream.gone().await;
    }

    /// Writes a message; [`flush`](Self::flush) sends it.
    pub(super) fn put(&mut self, message: &PgWireBackendMessage) -> Result<(), Halt> {
        message.encode(&mut self.outbox).map_err(|error| {
            tracing::error!(%error, "a message cannot be encoded");
            Halt::Gone
        })
    }

    /// Sends what was written. A client that takes nothing for too long is given up.
    pub(super) async fn flush(&mut self) -> Result<(), Halt> {
        Ok(self.stream.flush(&mut self.outbox).await?)
    }

    /// Sends what was written, for as long as the statement may run.
    pub(super) async fn flush_for(&mut self, execution: &Execution) -> Result<(), Halt> {
        Ok(self.stream.flush_for(execution, &mut self.outbox).await??)
    }

    /// Tells the client why its connection ends.
    pub(super) async fn farewell(&mut self, failure: &Failure) {
        if self.put(&failure.response()).is_ok() {
            self.stream.farewell(&mut self.outbox).await;
        }
    }

    /// Sends one byte, before there are messages.
    pub(super) async fn answer(&mut self, byte: u8) -> Result<(), Halt> {
        self.outbox.extend_from_slice(&[byte]);
        self.flush().await
    }
}
