//! Kinds whose names are taken for what the cluster adds, so that no later record needs another name.
//!
//! - `lease/<name>`: a named lease (rule and flow runners): `{"holder": <node_epoch>, ...}`.
//! - `limit/<scope>`: limits of a tenant.
//! - `user/<name>`: a user and its privileges.
//! - `ddl/<n:016x>`: head of the DDL journal that datanodes write on order.

/// Kinds that may be in a store and are not ours to read yet.
pub const RESERVED_KINDS: [&str; 4] = ["lease", "limit", "user", "ddl"];
