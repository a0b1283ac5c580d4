//! From a logical plan to rows: optimise, distribute over the datanodes, merge here.

mod distribute;
mod exchange;
mod merge;
mod optimize;
mod read;
mod shuffle;
#[cfg(test)]
mod tests;

pub(crate) use distribute::{Fleet, distribute};
pub(crate) use merge::{open, stream, with_pauses};
pub(crate) use optimize::read_time_literals;
pub(crate) use read::RemoteReader;
pub(crate) use shuffle::shuffled;
