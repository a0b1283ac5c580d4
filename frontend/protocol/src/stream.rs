//! The bytes of a client's connection that is not HTTP.
//!
//! While a statement runs, its connection is read ahead: that is how a client
//! that goes is noticed. What a flush that ends early has not sent stays in the
//! outbox, so that the error of a statement that was killed in mid-flush follows
//! its rows and the connection lives on.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use varve_model::limits::QUERY_TIMEOUT;
use varve_service::clock::SharedClock;

use crate::process::{Ended, Execution};

/// Bytes written before they are sent.
pub(crate) const OUTBOX_BYTES: usize = 64 << 10;
/// Bytes read ahead while a query runs: enough to see that the client goes, or what it pipelines.
const READ_AHEAD_BYTES: usize = 64 << 10;
/// How long a client may take to receive why its connection ends.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(5);

/// Both directions of a connection.
#[derive(Debug)]
pub(crate) struct Stream {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    /// What the client sent and nobody has used yet.
    pub(crate) inbox: BytesMut,
    clock: SharedClock,
}

impl Stream {
    pub(crate) fn new(stream: TcpStream, clock: SharedClock) -> Self {
        // Without Nagle's delay; a socket that refuses it is closing already.
        let _ = stream.set_nodelay(true);
        let (reader, writer) = stream.into_split();
        Self { reader, writer, inbox: BytesMut::new(), clock }
    }

    /// Waits for more in the inbox; `false` when the client has closed the connection. Cancel-safe.
    pub(crate) async fn receive(&mut self) -> io::Result<bool> {
        Ok(self.reader.read_buf(&mut self.inbox).await? > 0)
    }

    /// Resolves when the client closes the connection. Cancel-safe; what it reads stays in the inbox.
    pub(crate) async fn gone(&mut self) {
        gone(&mut self.reader, &mut self.inbox).await;
    }

    /// Sends the outbox. Cancel-safe. Errors: the client has gone, or takes nothing for too long.
    pub(crate) async fn flush(&mut self, outbox: &mut BytesMut) -> io::Result<()> {
        self.flush_in(QUERY_TIMEOUT, outbox).await
    }

    /// Sends the outbox of a connection that ends.
    pub(crate) async fn farewell(&mut self, outbox: &mut BytesMut) {
        // A client that has gone needs no word.
        let _ = self.flush_in(FAREWELL_TIMEOUT, outbox).await;
    }

    /// Sends the outbox, for as long as the statement may run.
    pub(crate) async fn flush_for(
        &mut self,
        execution: &Execution,
        outbox: &mut BytesMut,
    ) -> Result<io::Result<()>, Ended> {
        execution.bound(gone(&mut self.reader, &mut self.inbox), send(&mut self.writer, outbox)).await
    }

    async fn flush_in(&mut self, timeout: Duration, outbox: &mut BytesMut) -> io::Result<()> {
        tokio::select! {
            sent = send(&mut self.writer, outbox) => sent,
            () = self.clock.sleep(timeout) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

async fn gone(reader: &mut OwnedReadHalf, inbox: &mut BytesMut) {
    while inbox.len() < READ_AHEAD_BYTES {
        match reader.read_buf(inbox).await {
            Ok(bytes) if bytes > 0 => {}
            _ => return,
        }
    }
    std::future::pending::<()>().await;
}

/// Takes out of the outbox what it sends.
async fn send(writer: &mut OwnedWriteHalf, outbox: &mut BytesMut) -> io::Result<()> {
    while !outbox.is_empty() {
        if writer.write_buf(outbox).await? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    Ok(())
}
