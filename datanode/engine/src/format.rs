//! Every persisted byte layout of the engine, and nothing else.
//!
//! Layouts are here and not beside their users so that a change of bytes is a
//! change of this folder, which has a page in docs/format and a fixture each.

pub mod block;
pub mod checksum;
pub mod column;
pub mod cursor;
pub mod decimal;
#[cfg(test)]
pub(crate) mod fixture;
pub mod framed;
pub mod object;
pub mod pack;
pub mod segment;
pub mod session;
