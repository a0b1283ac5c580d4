//! Bytes of one connection: packets in and out, each numbered within its exchange.

use bytes::{BufMut, Bytes, BytesMut};
use mysql_common::constants::MAX_PAYLOAD_LEN;
use mysql_common::proto::MySerialize;
use mysql_common::proto::codec::error::PacketCodecError;
use mysql_common::proto::codec::{ChunkDecoder, ChunkInfo, packet_to_chunks};
use tokio::net::TcpStream;
use varve_model::limits::BODY_BYTES_MAX;
use varve_service::clock::SharedClock;

use super::failure::{Failure, Halt, PACKET_TOO_LARGE, PACKETS_OUT_OF_ORDER};
use crate::process::Execution;
use crate::stream::Stream;

/// Bytes of a packet before the client has logged in.
pub(super) const LOGIN_BYTES_MAX: usize = 64 << 10;

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

/// Both directions of a connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Stream,
    /// Chunks of a packet that is not whole yet.
    packet: BytesMut,
    decoder: ChunkDecoder,
    pub(super) outbox: Outbox,
    packet_bytes_max: usize,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, clock: SharedClock) -> Self {
        Self {
            stream: Stream::new(stream, clock),
            packet: BytesMut::new(),
            decoder: ChunkDecoder::default(),
            outbox: Outbox::default(),
            packet_bytes_max: LOGIN_BYTES_MAX,
        }
    }

    /// After the login, packets may be large.
    pub(super) fn admit(&mut self) {
        self.packet_bytes_max = BODY_BYTES_MAX;
    }

    /// The next packet of this exchange. Cancel-safe.
    pub(super) async fn packet(&mut self) -> Result<Bytes, Halt> {
        loop {
            if let Some(packet) = self.decode()? {
                return Ok(packet);
            }
            if !self.stream.receive().await? {
                return Err(Halt::Gone);
            }
        }
    }

    /// A whole packet, when the inbox has one.
    fn decode(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let chunk = self.decoder.decode(&mut self.stream.inbox, &mut self.packet, self.packet_bytes_max);
            let (number, last) = match chunk {
                Ok(None) => return Ok(None),
                Ok(Some(ChunkInfo::Last(number))) => (number, true),
                Ok(Some(ChunkInfo::Middle(number))) => (number, false),
                Err(PacketCodecError::PacketTooLarge) => {
                    return Err(Failure::fatal(
                        PACKET_TOO_LARGE,
                        "Got a packet bigger than 'max_allowed_packet' bytes",
                    ));
                }
                Err(_) => return Err(Failure { fatal: true, ..Failure::malformed() }),
            };
            if number != self.outbox.next {
                return Err(Failure::fatal(PACKETS_OUT_OF_ORDER, "Got packets out of order"));
            }
            self.outbox.next = number.wrapping_add(1);
            if last {
                return Ok(Some(self.packet.split().freeze()));
            }
        }
    }

    /// Resolves when the client closes the connection. Cancel-safe.
    pub(super) async fn gone(&mut self) {
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
