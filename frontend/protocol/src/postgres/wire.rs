//! Bytes of one connection: frames in, messages out.

use bytes::{Buf, Bytes, BytesMut};
use pgwire::messages::PgWireBackendMessage;
use tokio::net::TcpStream;
use varve_model::limits::BODY_BYTES_MAX;
use varve_service::clock::SharedClock;

use super::failure::{Failure, Halt};
use crate::process::Execution;
use crate::stream::Stream;

/// Both directions of a connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Stream,
    /// Messages not sent yet.
    pub(super) outbox: BytesMut,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, clock: SharedClock) -> Self {
        Self { stream: Stream::new(stream, clock), outbox: BytesMut::new() }
    }

    /// Reads until `bytes` are in the inbox.
    async fn fill(&mut self, bytes: usize) -> Result<(), Halt> {
        while self.stream.inbox.len() < bytes {
            if !self.stream.receive().await? {
                return Err(Halt::Gone);
            }
        }
        Ok(())
    }

    /// Length of the packet whose length stands at `at`, the length itself included.
    fn packet_len(&self, at: usize, bytes_max: usize) -> Result<usize, Failure> {
        let len = (&self.stream.inbox[at..at + 4]).get_i32();
        let len = usize::try_from(len).ok().filter(|len| *len >= 4);
        let len = len.ok_or_else(|| Failure::fatal("08P01", "invalid message length"))?;
        if len > bytes_max {
            return Err(Failure::fatal("54000", format!("message of {len} bytes is longer than {bytes_max}")));
        }
        Ok(len)
    }

    /// The first packet of a connection, without its length.
    pub(super) async fn startup_packet(&mut self) -> Result<Bytes, Halt> {
        self.fill(4).await?;
        let len = self.packet_len(0, super::frame::STARTUP_BYTES_MAX)?;
        self.fill(len).await?;
        let mut packet = self.stream.inbox.split_to(len).freeze();
        packet.advance(4);
        Ok(packet)
    }

    /// The next message: its type, and its body without length. Cancel-safe.
    pub(super) async fn frame(&mut self) -> Result<(u8, Bytes), Halt> {
        self.fill(5).await?;
        let len = self.packet_len(1, BODY_BYTES_MAX)?;
        self.fill(1 + len).await?;
        let mut packet = self.stream.inbox.split_to(1 + len).freeze();
        let kind = packet.get_u8();
        packet.advance(4);
        Ok((kind, packet))
    }

    /// Resolves when the client closes the connection. Cancel-safe.
    pub(super) async fn gone(&mut self) {
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
