//! Bytes of one connection: frames in, messages out.

use bytes::{Buf, Bytes, BytesMut};
use pgwire::messages::PgWireBackendMessage;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use varve_model::limits::{BODY_BYTES_MAX, QUERY_TIMEOUT};
use varve_service::clock::SharedClock;

use super::failure::{Failure, Halt};

/// Bytes written before they are sent.
pub(super) const OUTBOX_BYTES: usize = 64 << 10;
/// Bytes read ahead while a query runs: enough to see that the client goes, or what it pipelines.
const READ_AHEAD_BYTES: usize = 64 << 10;

/// Both directions of a connection.
#[derive(Debug)]
pub(super) struct Wire {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    inbox: BytesMut,
    /// Messages not sent yet.
    pub(super) outbox: BytesMut,
    clock: SharedClock,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, clock: SharedClock) -> Self {
        // Without Nagle's delay; a socket that refuses it is closing already.
        let _ = stream.set_nodelay(true);
        let (reader, writer) = stream.into_split();
        Self { reader, writer, inbox: BytesMut::new(), outbox: BytesMut::new(), clock }
    }

    /// Reads until `bytes` are in the inbox.
    async fn fill(&mut self, bytes: usize) -> Result<(), Halt> {
        while self.inbox.len() < bytes {
            if self.reader.read_buf(&mut self.inbox).await? == 0 {
                return Err(Halt::Gone);
            }
        }
        Ok(())
    }

    /// Length of the packet whose length stands at `at`, the length itself included.
    fn packet_len(&self, at: usize, bytes_max: usize) -> Result<usize, Failure> {
        let len = (&self.inbox[at..at + 4]).get_i32();
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
        let mut packet = self.inbox.split_to(len).freeze();
        packet.advance(4);
        Ok(packet)
    }

    /// The next message: its type, and its body without length. Cancel-safe.
    pub(super) async fn frame(&mut self) -> Result<(u8, Bytes), Halt> {
        self.fill(5).await?;
        let len = self.packet_len(1, BODY_BYTES_MAX)?;
        self.fill(1 + len).await?;
        let mut packet = self.inbox.split_to(1 + len).freeze();
        let kind = packet.get_u8();
        packet.advance(4);
        Ok((kind, packet))
    }

    /// Resolves when the client closes the connection. Cancel-safe; what it reads stays in the inbox.
    pub(super) async fn gone(&mut self) {
        while self.inbox.len() < READ_AHEAD_BYTES {
            match self.reader.read_buf(&mut self.inbox).await {
                Ok(bytes) if bytes > 0 => {}
                _ => return,
            }
        }
        std::future::pending::<()>().await;
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
        if self.outbox.is_empty() {
            return Ok(());
        }
        let sent = tokio::select! {
            sent = self.writer.write_all(&self.outbox) => sent,
            () = self.clock.sleep(QUERY_TIMEOUT) => return Err(Halt::Gone),
        };
        self.outbox.clear();
        Ok(sent?)
    }

    /// Sends one byte, before there are messages.
    pub(super) async fn answer(&mut self, byte: u8) -> Result<(), Halt> {
        self.outbox.extend_from_slice(&[byte]);
        self.flush().await
    }
}
