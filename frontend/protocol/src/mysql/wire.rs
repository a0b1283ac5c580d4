//! Bytes of one connection: packets in and out, each numbered within its exchange.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use mysql_common::constants::MAX_PAYLOAD_LEN;
use mysql_common::proto::MySerialize;
use mysql_common::proto::codec::packet_to_chunks;
use tokio::net::TcpStream;
use varve_model::budget::Account;
use varve_model::limits::BODY_BYTES_MAX;
use varve_service::clock::SharedClock;

use super::command::HEAD_BYTES;
use super::failure::{Failure, Halt, PACKET_TOO_LARGE, PACKETS_OUT_OF_ORDER};
use crate::process::Execution;
use crate::stream::{Packet, Stream};

/// Bytes of a packet before the client has logged in.
pub(super) const LOGIN_BYTES_MAX: usize = 64 << 10;
/// Bytes before each part of a packet: its length and its number.
const HEADER_BYTES: usize = 4;

/// Packets on their way out, and the number of the next one.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub(super) bytes: BytesMut,
    pub(super) next: u8,
}

impl Outbox {
    /// Appends one packet; `write` appends its payload.
    pub(super) fn put(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let start = self.bytes.len();
        self.bytes.put_u32_le(0);
        write(&mut self.bytes);
        let len = self.bytes.len() - start - 4;
        if len < MAX_PAYLOAD_LEN {
            let header = len as u32 | u32::from(self.next) << 24;
            self.bytes[start..start + 4].copy_from_slice(&header.to_le_bytes());
            self.next = self.next.wrapping_add(1);
        } else {
            let mut payload = self.bytes.split_off(start + 4);
            self.bytes.truncate(start);
            self.next = packet_to_chunks(self.next, &mut payload, &mut self.bytes);
        }
    }
}

/// A packet that the memory account has no room for: it was thrown away.
#[derive(Debug)]
pub(super) struct Refused {
    /// Its first bytes, which tell what it was.
    pub(super) head: Bytes,
    pub(super) failure: Failure,
}

impl From<Refused> for Halt {
    fn from(refused: Refused) -> Self {
        Self::Failure(refused.failure)
    }
}

/// Both directions of a connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Stream,
    pub(super) outbox: Outbox,
    packet_bytes_max: usize,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, clock: SharedClock, memory: Account) -> Self {
        let stream = Stream::new(stream, clock, memory);
        Self { stream, outbox: Outbox::default(), packet_bytes_max: LOGIN_BYTES_MAX }
    }

    /// After the login, packets may be large.
    pub(super) fn admit(&mut self) {
        self.packet_bytes_max = BODY_BYTES_MAX;
    }

    /// The next packet of this exchange, or why it was thrown away. Not to be asked for again after it was dropped.
    pub(super) async fn packet(&mut self) -> Result<Result<Packet, Refused>, Halt> {
        let (mut packet, mut refused, mut whole) = (Packet::default(), None, 0);
        loop {
            let len = self.part(&mut whole).await?;
            if refused.is_none()
                && let Err(error) = self.stream.admit(&mut packet, len)
            {
                let head = self.head(std::mem::take(&mut packet), len).await?;
                refused = Some(Refused { head, failure: Failure::of(&error) });
            }
            match refused {
                None => self.stream.take(&mut packet, len).await?,
                Some(_) => self.stream.discard(len).await?,
            }
            if len < MAX_PAYLOAD_LEN {
                return Ok(refused.map_or(Ok(packet), Err));
            }
        }
    }

    /// Reads the header of a part. Returns its length, which was added to that of the whole packet.
    async fn part(&mut self, whole: &mut usize) -> Result<usize, Halt> {
        let mut header = self.stream.peek(HEADER_BYTES).await?;
        let (len, number) = (header.get_uint_le(3) as usize, header.get_u8());
        *whole += len;
        if *whole > self.packet_bytes_max {
            let text = "Got a packet bigger than 'max_allowed_packet' bytes";
            return Err(Failure::fatal(PACKET_TOO_LARGE, text).into());
        }
        if number != self.outbox.next {
            return Err(Failure::fatal(PACKETS_OUT_OF_ORDER, "Got packets out of order").into());
        }
        self.stream.skip(HEADER_BYTES);
        self.outbox.next = number.wrapping_add(1);
        Ok(len)
    }

    /// The first bytes of a packet: of its parts so far, else of the one that comes.
    async fn head(&mut self, packet: Packet, len: usize) -> Result<Bytes, Halt> {
        let so_far = packet.bytes.get(..HEAD_BYTES).map(Bytes::copy_from_slice);
        match so_far {
            Some(head) => Ok(head),
            None => Ok(Bytes::copy_from_slice(self.stream.peek(HEAD_BYTES.min(len)).await?)),
        }
    }

    /// Resolves when the client closes the connection. Cancel-safe.
    pub(super) async fn gone(&mut self) {
        self.stream.follow(&mut self.outbox.bytes);
        self.stream.gone().await;
    }

    /// Writes a packet; [`flush`](Self::flush) sends it.
    pub(super) fn put(&mut self, packet: &impl MySerialize) {
        let mut payload = Vec::new();
        packet.serialize(&mut payload);
        self.outbox.put(|out| out.extend_from_slice(&payload));
    }

    /// Sends what was written. A client that takes nothing for too long is given up.
    pub(super) async fn flush(&mut self) -> Result<(), Halt> {
        Ok(self.stream.flush(&mut self.outbox.bytes).await?)
    }

    /// Sends what was written, for as long as the statement may run.
    pub(super) async fn flush_for(&mut self, execution: &Execution) -> Result<(), Halt> {
        Ok(self.stream.flush_for(execution, &mut self.outbox.bytes).await??)
    }

    /// Tells the client why its connection ends.
    pub(super) async fn farewell(&mut self, failure: &Failure) {
        self.put(&failure.packet());
        self.stream.farewell(&mut self.outbox.bytes).await;
    }
}
