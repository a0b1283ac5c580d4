//! An S3 server that keeps its promises unless a rule tells it not to.
//!
//! Conditional creates are decided under one lock, so they are atomic; rules
//! make it slow, failing, forgetful or lying for chosen operations and keys.

mod objects;
mod rule;
mod service;
#[cfg(test)]
mod tests;

pub use objects::Objects;
pub use rule::{Fault, Operation, Rule, Rules};
pub use service::{Counts, Server};

/// The one bucket that exists.
pub const BUCKET: &str = "varve";
/// Credentials that are accepted.
pub const ACCESS_KEY: &str = "varve-test-key";
/// See [`ACCESS_KEY`].
pub const SECRET_KEY: &str = "varve-test-secret";
/// Accepted, too, for a client that fetches new credentials.
pub const OTHER_ACCESS_KEY: &str = "varve-test-key-2";
