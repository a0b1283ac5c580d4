//! Tests of the engine's data side as a whole: a region's life against a map of rows.

pub(crate) mod kit;
mod life;
mod size;
