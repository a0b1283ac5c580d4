use std::collections::VecDeque;
use std::pin::Pin;

use bytes::Bytes;
use futures::StreamExt;
use hyper::body::Frame;
use proptest::prelude::*;
use tonic::Streaming;
use tonic::codec::Codec;
use tonic_prost::ProstCodec;

use super::body::Framing;
use super::*;
use crate::grpc::MESSAGE_BYTES_MAX;
use crate::wire;

/// Frames as they come.
struct Frames(VecDeque<Bytes>);

impl hyper::body::Body for Frames {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        Poll::Ready(self.0.pop_front().map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// What tonic reads of these frames.
fn read(frames: Vec<Vec<u8>>, purse: Purse, held: Held) -> Streaming<wire::ScanChunk> {
    let frames = Frames(frames.into_iter().map(Bytes::from).collect());
    let body = Incoming::new(Body::new(frames), purse, held);
    let decoder = ProstCodec::<wire::ScanChunk, wire::ScanChunk>::default().decoder();
    Streaming::new_request(decoder, Body::new(body), None, Some(MESSAGE_BYTES_MAX))
}

/// A message as it travels.
fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend((message.len() as u32).to_be_bytes());
    bytes.extend(message);
    bytes
}

fn chunk(bytes: usize) -> wire::ScanChunk {
    wire::ScanChunk { ipc: vec![7; bytes].into() }
}

/// Cut at these places.
fn cut(bytes: &[u8], places: &[prop::sample::Index]) -> Vec<Vec<u8>> {
    let mut places = places.iter().map(|place| place.index(bytes.len() + 1)).collect::<Vec<_>>();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| bytes[pair[0]..pair[1]].to_vec()).collect()
}

proptest! {
    #[test]
    fn each_message_is_counted_where_its_head_ends(
        lengths in prop::collection::vec(0usize..40, 1..12),
        places in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let bytes = lengths.iter().flat_map(|length| framed(&vec![7; *length])).collect::<Vec<_>>();
        // End of head and of message, and its length.
        let mut at = 0;
        let messages = lengths.iter().map(|length| {
            at += 5 + length;
            (at - length, at, *length as u64)
        }).collect::<Vec<_>>();
        let (mut framing, mut from) = (Framing::default(), 0);
        for frame in cut(&bytes, &places) {
            let to = from + frame.len();
            let begun = messages.iter().filter(|(head, ..)| from < *head && *head <= to).map(|(.., length)| length);
            prop_assert_eq!(framing.take(&frame), begun.sum::<u64>());
            let unfinished = messages.iter().find(|(head, end, _)| *head <= to && to < *end);
            prop_assert_eq!(framing.unfinished(), unfinished.map_or(0, |(.., length)| *length));
            from = to;
        }
    }

    #[test]
    fn hostile_bytes_do_not_panic(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..10)) {
        let mut framing = Framing::default();
        for frame in frames {
            framing.take(&frame);
            prop_assert!(framing.unfinished() <= MESSAGE_BYTES_MAX as u64);
        }
    }

    #[test]
    fn what_is_read_is_what_was_sent_and_is_given_back(
        sizes in prop::collection::vec(0usize..300, 0..8),
        places in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let account = Account::root("test", 1 << 20);
        let bytes = sizes.iter().flat_map(|size| framed(&prost::Message::encode_to_vec(&chunk(*size))));
        let frames = cut(&bytes.collect::<Vec<_>>(), &places);
        let purse = Purse { account: account.clone(), may_refuse: true };
        let mut reading = read(frames, purse, Held::new(&account));
        let read = futures::executor::block_on(async {
            let mut read = Vec::new();
            while let Some(message) = reading.next().await {
                let message = message.expect("valid");
                assert!(account.bytes() >= message.ipc.len() as u64, "held while it is handed over");
                read.push(message.ipc.len());
            }
            read
        });
        prop_assert_eq!(read, sizes);
        prop_assert_eq!(account.bytes(), 0);
    }
}

#[test]
fn a_message_that_somebody_needs_stays_charged_when_it_was_read() {
    let account = Account::root("test", 1 << 20);
    let held = Held::new(&account);
    let message = prost::Message::encode_to_vec(&chunk(1000));
    let purse = Purse { account: account.clone(), may_refuse: true };
    let mut reading = read(vec![framed(&message)], purse, held.clone());
    let read = futures::executor::block_on(async { (reading.next().await, reading.next().await) });
    assert!(matches!(read, (Some(Ok(_)), None)));
    drop(reading);
    assert_eq!(account.bytes(), message.len() as u64);
    drop(held);
    assert_eq!(account.bytes(), 0);
}

#[test]
fn a_message_without_room_is_refused_before_its_bytes_are_read_on() {
    let account = Account::root("test", 1500);
    let full = account.charge(1000).expect("it is empty");
    let purse = Purse { account: account.clone(), may_refuse: true };
    let message = framed(&prost::Message::encode_to_vec(&chunk(1000)));
    // Its head alone: nothing else is there to be read.
    let mut reading = read(vec![message[..3].to_vec(), message[3..5].to_vec()], purse, Held::new(&account));
    let refused = futures::executor::block_on(reading.next()).expect("an error").expect_err("no room");
    let error = crate::status::from_status(&refused);
    assert_eq!(error.kind(), varve_model::ErrorKind::Busy, "{error}");
    assert_eq!(account.bytes(), full.bytes());
}

#[test]
fn a_message_that_is_too_long_is_refused_as_such_and_charged_to_nobody() {
    let account = Account::root("test", 500);
    let purse = Purse { account: account.clone(), may_refuse: true };
    let mut head = vec![0];
    head.extend((MESSAGE_BYTES_MAX as u32 + 1).to_be_bytes());
    let mut reading = read(vec![head], purse, Held::new(&account));
    let refused = futures::executor::block_on(reading.next()).expect("an error").expect_err("too long");
    assert_eq!(crate::status::from_status(&refused).reason(), varve_model::Reason::TooLarge);
    assert_eq!(account.bytes(), 0);
}

#[test]
fn terms_are_those_of_the_method() {
    let terms = |path| (Terms::of(path).refused, Terms::of(path).is_scan);
    assert_eq!(terms("/varve.v1.Datanode/Write"), (Refused::Request, false));
    assert_eq!(terms("/varve.v1.Datanode/Describe"), (Refused::RequestAndAnswer, false));
    assert_eq!(terms("/varve.v1.Datanode/Scan"), (Refused::RequestAndAnswer, true));
    assert_eq!(terms("/varve.v1.Metasrv/Heartbeat"), (Refused::Nothing, false));
    assert_eq!(terms("/varve.v1.Metasrv/Execute"), (Refused::Request, false));
    assert_eq!(terms("no path"), (Refused::Request, false));
}
