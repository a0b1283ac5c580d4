//! The bucket: names of objects, the one way to create them, what a store must keep, a local folder, faults for tests.

mod context;
pub mod create;
pub mod credential;
pub mod delete;
pub mod fault;
pub mod folder;
#[cfg(test)]
pub(crate) mod overtaken;
pub mod path;
pub mod probe;
pub mod s3;

pub use context::FileContext;
pub use object_store::ObjectStore;
