//! Rows in memory, in parts.
