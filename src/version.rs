//! What this binary is.

/// Version of the packages.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Commit it was built from.
pub const COMMIT: &str = env!("VARVE_COMMIT");

/// Version, commit and features, for `varve --version`.
pub const LONG: &str = if cfg!(feature = "failpoints") {
    concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("VARVE_COMMIT"), ", features failpoints)")
} else {
    concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("VARVE_COMMIT"), ", features none)")
};
