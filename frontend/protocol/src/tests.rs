//! What the tests of all protocols share.

pub(crate) mod mock;
