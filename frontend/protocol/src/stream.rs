//! The bytes of a client's connection that is not HTTP, and what they are charged to.
//!
//! While a statement runs, its connection is read ahead: that is how a client
//! that goes is noticed. What a flush that ends early has not sent stays in the
//! outbox, so that the error of a statement that was killed in mid-flush follows
//! its rows and the connection lives on.
//!
//! Small messages pass through the inbox, and a connection's standing charge
//! follows the room of its buffers: it is never refused, since it is bounded,
//! and so reading a small message touches no account. A large message is charged
//! by its announced length before it is read, into a buffer of its own, which
//! goes with it; the connection's buffers stay small.

use std::io;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use varve_model::Result;
use varve_model::budget::{Account, Charge};
use varve_model::limits::{BODY_IDLE_TIMEOUT, QUERY_TIMEOUT};
use varve_service::clock::SharedClock;

use crate::process::{Ended, Execution};

/// Bytes written before they are sent.
pub(crate) const OUTBOX_BYTES: usize = 64 << 10;
/// Rows are not encoded into an outbox of more bytes than these: it holds so many, and one row.
pub(crate) const OUTBOX_BYTES_MAX: usize = 256 << 10;
/// Bytes read ahead while a query runs: enough to see that the client goes, or what it pipelines.
const READ_AHEAD_BYTES: usize = 64 << 10;
/// Messages up to here are covered by the standing charge; and room that a connection keeps while it waits.
pub(crate) const SMALL_BYTES: usize = 16 << 10;
/// A message is charged this often: for its bytes, and for the text or values made of them.
const COPIES: usize = 2;
/// How long a client may take to receive why its connection ends.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(5);

/// A message as it came, in one part or several.
#[derive(Debug, Default)]
pub(crate) struct Packet {
    pub(crate) bytes: BytesMut,
    /// For a large one.
    charge: Option<Charge>,
}

impl Packet {
    /// The bytes, and the charge to hold until all that was made of them is gone.
    pub(crate) fn open(self) -> (Bytes, Option<Charge>) {
        (self.bytes.freeze(), self.charge)
    }
}

/// Both directions of a connection.
#[derive(Debug)]
pub(crate) struct Stream {
    inlet: Inlet,
    outlet: Outlet,
    clock: SharedClock,
    memory: Account,
}

#[derive(Debug)]
struct Inlet {
    reader: OwnedReadHalf,
    /// What the client sent and nobody has used yet.
    inbox: BytesMut,
    charge: Charge,
}

#[derive(Debug)]
struct Outlet {
    writer: OwnedWriteHalf,
    /// For the outbox, which is the wire's.
    charge: Charge,
}

impl Stream {
    pub(crate) fn new(stream: TcpStream, clock: SharedClock, memory: Account) -> Self {
        // Without Nagle's delay; a socket that refuses it is closing already.
        let _ = stream.set_nodelay(true);
        let (reader, writer) = stream.into_split();
        let inlet = Inlet { reader, inbox: BytesMut::new(), charge: memory.empty() };
        Self { inlet, outlet: Outlet { writer, charge: memory.empty() }, clock, memory }
    }

    /// The next bytes, which stay in the inbox. For a few only. Cancel-safe. Errors: the client has gone.
    pub(crate) async fn peek(&mut self, bytes: usize) -> io::Result<&[u8]> {
        while self.inlet.inbox.len() < bytes {
            self.inlet.receive(bytes - self.inlet.inbox.len()).await?;
        }
        Ok(&self.inlet.inbox[..bytes])
    }

    /// Drops bytes that were peeked at.
    pub(crate) fn skip(&mut self, bytes: usize) {
        self.inlet.inbox.advance(bytes);
    }

    /// Charges `len` more bytes of a packet, before they are read. Errors: `Busy`, or
    /// `InvalidRequest/TooLarge` when they never fit; they can be discarded then.
    pub(crate) fn admit(&self, packet: &mut Packet, len: usize) -> Result<()> {
        let whole = packet.bytes.len() + len;
        if whole <= SMALL_BYTES {
            return Ok(());
        }
        let charge = packet.charge.get_or_insert_with(|| self.memory.empty());
        charge.admit((whole * COPIES) as u64 - charge.bytes())
    }

    /// Reads `len` more bytes of a packet, which were admitted. Not cancel-safe: what it read of a large one is lost.
    /// Errors: the client has gone, or stops sending.
    pub(crate) async fn take(&mut self, packet: &mut Packet, len: usize) -> io::Result<()> {
        packet.bytes.reserve(len);
        if packet.bytes.len() + len <= SMALL_BYTES {
            packet.bytes.extend_from_slice(self.peek(len).await?);
            self.skip(len);
            return Ok(());
        }
        let Inlet { reader, inbox, .. } = &mut self.inlet;
        let ready = len.min(inbox.len());
        packet.bytes.extend_from_slice(&inbox[..ready]);
        inbox.advance(ready);
        let mut missing = len - ready;
        while missing > 0 {
            let mut rest = (&mut packet.bytes).limit(missing);
            missing -= patient(&self.clock, received(reader.read_buf(&mut rest))).await?;
        }
        Ok(())
    }

    /// Reads bytes and throws them away, in small pieces. Errors: the client has gone, or stops sending.
    pub(crate) async fn discard(&mut self, bytes: usize) -> io::Result<()> {
        let mut left = bytes;
        loop {
            let ready = left.min(self.inlet.inbox.len());
            self.skip(ready);
            left -= ready;
            if left == 0 {
                return Ok(());
            }
            patient(&self.clock, self.inlet.receive(SMALL_BYTES)).await?;
        }
    }

    /// Brings the standing charge to what the outbox holds.
    pub(crate) fn follow(&mut self, outbox: &mut BytesMut) {
        self.outlet.follow(outbox);
    }

    /// Resolves when the client closes the connection. Cancel-safe; what it reads stays in the inbox.
    pub(crate) async fn gone(&mut self) {
        self.inlet.gone().await;
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
        execution.bound(self.inlet.gone(), self.outlet.send(outbox, OUTBOX_BYTES_MAX)).await
    }

    async fn flush_in(&mut self, timeout: Duration, outbox: &mut BytesMut) -> io::Result<()> {
        tokio::select! {
            sent = self.outlet.send(outbox, SMALL_BYTES) => sent,
            () = self.clock.sleep(timeout) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Inlet {
    /// Waits for more in the inbox, which has room for `room` bytes then. Cancel-safe. Errors: the client has gone.
    async fn receive(&mut self, room: usize) -> io::Result<()> {
        if self.inbox.is_empty() && whole_capacity(&mut self.inbox) > SMALL_BYTES {
            self.inbox = BytesMut::new();
        }
        self.inbox.reserve(room);
        self.follow();
        received(self.reader.read_buf(&mut self.inbox)).await?;
        self.follow();
        Ok(())
    }

    async fn gone(&mut self) {
        while self.inbox.len() < READ_AHEAD_BYTES {
            if received(self.reader.read_buf(&mut self.inbox)).await.is_err() {
                return;
            }
            self.follow();
        }
        std::future::pending::<()>().await;
    }

    /// A small message was whole in the inbox before it was copied out of it, so the room bounds its copies too.
    fn follow(&mut self) {
        let room = whole_capacity(&mut self.inbox);
        let bytes = (room + room.min(SMALL_BYTES) * COPIES) as u64;
        if bytes != self.charge.bytes() {
            self.charge.set(bytes);
        }
    }
}

impl Outlet {
    /// Takes out of the outbox what it sends. Cancel-safe. An empty outbox keeps `room_max` bytes of room.
    async fn send(&mut self, outbox: &mut BytesMut, room_max: usize) -> io::Result<()> {
        self.follow(outbox);
        while !outbox.is_empty() {
            if self.writer.write_buf(outbox).await? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        if whole_capacity(outbox) > room_max {
            *outbox = BytesMut::new();
        }
        self.follow(outbox);
        Ok(())
    }

    fn follow(&mut self, outbox: &mut BytesMut) {
        let bytes = whole_capacity(outbox) as u64;
        if bytes != self.charge.bytes() {
            self.charge.set(bytes);
        }
    }
}

/// A buffer's capacity. What was taken from its front counts again: where that is more than half, the rest is moved.
fn whole_capacity(buffer: &mut BytesMut) -> usize {
    // Whether it was possible shows in the capacity.
    let _ = buffer.try_reclaim(buffer.capacity() - buffer.len() + 1);
    buffer.capacity()
}

/// The bytes that were read. Errors: there are no more.
async fn received(read: impl Future<Output = io::Result<usize>>) -> io::Result<usize> {
    match read.await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        bytes => Ok(bytes),
    }
}

/// Awaits more of a message. Errors: the client has stopped sending, which must not hold its charge.
async fn patient<T>(clock: &SharedClock, read: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::select! {
        read = read => read,
        () = clock.sleep(BODY_IDLE_TIMEOUT) => Err(io::ErrorKind::TimedOut.into()),
    }
}
