//! How much may be under way on a connection: its streams, and the bytes of each.
//!
//! What a stream has received and nobody has read counts against the window of
//! its connection. A connection's window therefore holds the windows of all its
//! streams: however many readers stop, the streams of the others go on. With a
//! smaller one, readers that wait for each other's streams would wait forever.

/// Calls of one connection at once. A shuffled query has at most 64 per exchange and pair of nodes.
pub(super) const STREAMS_MAX: u32 = 4000;
/// Bytes of one stream under way towards the caller. A window opens again when half of it has been
/// read, so that a stream carries at least half a window per round trip: 260 MB/s over one of 1 ms.
pub(super) const STREAM_WINDOW_BYTES: u32 = 512 << 10;
/// The largest window that HTTP/2 has (RFC 9113, section 6.9.1).
const WINDOW_BYTES_MAX: u32 = (1 << 31) - 1;

/// The window of a connection that has so many calls at once.
pub(super) const fn of_connection(streams: u32) -> u32 {
    streams * STREAM_WINDOW_BYTES
}

const _: () = assert!(STREAMS_MAX as u64 * STREAM_WINDOW_BYTES as u64 <= of_connection(STREAMS_MAX) as u64);
const _: () = assert!(of_connection(STREAMS_MAX) <= WINDOW_BYTES_MAX);
