//! The bucket: names of objects, the one way to create them, a local folder, and a fault layer for tests.

mod context;
pub mod create;
pub mod fault;
pub mod folder;
pub mod path;

pub use context::FileContext;
pub use object_store::ObjectStore;
