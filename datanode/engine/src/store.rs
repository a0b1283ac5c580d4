//! The bucket: names of objects, the one way to create them, and a fault layer for tests.

mod context;
pub mod create;
pub mod path;

pub use context::FileContext;
