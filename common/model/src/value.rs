//! Single values: defaults of columns, parameters of statements. Rows never travel as values.

use serde::{Deserialize, Serialize};

/// One value of a column or parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// SQL NULL.
    Null,
    /// A 64-bit float; its bits are kept as they are.
    F64(f64),
    /// A signed integer.
    I64(i64),
    /// An unsigned integer.
    U64(u64),
    /// A boolean.
    Bool(bool),
    /// Text.
    String(String),
    /// Bytes.
    Binary(Vec<u8>),
}
