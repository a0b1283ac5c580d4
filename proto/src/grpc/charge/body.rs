//! Bodies that charge what passes through them.
//!
//! gRPC puts five bytes before each message: a flag and the length, big-endian. HTTP/2 cuts bodies anywhere,
//! also inside these five.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use varve_model::budget::Charge;

use super::{Held, Purse};
use crate::grpc::MESSAGE_BYTES_MAX;
use crate::status::to_status;

/// Bytes before a message: flag and length.
const HEAD_BYTES: usize = 5;

/// Where a body stands in its messages.
#[derive(Debug, Default)]
pub(super) struct Framing {
    head: [u8; HEAD_BYTES],
    /// Bytes of `head` that are there.
    head_bytes: usize,
    /// Bytes of the message that are to come.
    left: usize,
    /// Length of the message, as charged.
    length: u64,
}

impl Framing {
    /// Takes the next bytes; returns the lengths, summed up, of the messages whose heads end in them.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> u64 {
        let mut begun = 0;
        while !bytes.is_empty() {
            if self.left > 0 {
                let taken = self.left.min(bytes.len());
                self.left -= taken;
                bytes = &bytes[taken..];
                continue;
            }
            let (taken, rest) = bytes.split_at(bytes.len().min(HEAD_BYTES - self.head_bytes));
            self.head[self.head_bytes..][..taken.len()].copy_from_slice(taken);
            self.head_bytes += taken.len();
            bytes = rest;
            if self.head_bytes == HEAD_BYTES {
                let [_flag, length @ ..] = self.head;
                self.left = u32::from_be_bytes(length) as usize;
                // tonic refuses a longer one without reading it.
                self.length = if self.left > MESSAGE_BYTES_MAX { 0 } else { self.left as u64 };
                self.head_bytes = 0;
                begun += self.length;
            }
        }
        begun
    }

    /// Length of the message of which some bytes are to come; 0 between messages.
    pub(super) fn unfinished(&self) -> u64 {
        if self.left > 0 { self.length } else { 0 }
    }
}

/// A body that is read. Its reader asks for more when it has handed over all messages that are complete.
#[derive(Debug)]
pub(super) struct Incoming {
    body: Body,
    framing: Framing,
    purse: Purse,
    held: Held,
}

impl Incoming {
    pub(super) fn new(body: Body, purse: Purse, held: Held) -> Self {
        Self { body, framing: Framing::default(), purse, held }
    }
}

impl hyper::body::Body for Incoming {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.held.keep_if_alone(self.framing.unfinished());
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref);
        if let Some(data) = data {
            let begun = self.framing.take(data);
            match self.purse.charge(begun) {
                Ok(charge) => self.held.add(charge),
                Err(error) => return Poll::Ready(Some(Err(to_status(&error)))),
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body that is sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    body: Body,
    purse: Purse,
}

impl Outgoing {
    pub(super) fn new(body: Body, purse: Purse) -> Self {
        Self { body, purse }
    }
}

/// Bytes that are charged until the transport drops them.
struct Sent {
    bytes: Bytes,
    _charge: Charge,
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl hyper::body::Body for Outgoing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)?) else { return Poll::Ready(None) };
        let frame = match frame.into_data() {
            Ok(bytes) => match self.purse.charge(bytes.len() as u64) {
                Ok(charge) => Frame::data(Bytes::from_owner(Sent { bytes, _charge: charge })),
                Err(error) => {
                    // Ends the work behind it, too.
                    self.body = Body::empty();
                    let mut trailers = HeaderMap::new();
                    to_status(&error).add_header(&mut trailers)?;
                    Frame::trailers(trailers)
                }
            },
            Err(trailers) => trailers,
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
