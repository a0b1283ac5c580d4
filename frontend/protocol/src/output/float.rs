//! Floats as text: the shortest digits that read back equal, with an exponent where they would be many.
//!
//! PostgreSQL's form. MySQL has no NaN and no infinities; these names are what
//! most languages read.

use std::fmt::{Display, LowerExp, Result, Write};

/// Absolute values that are written without an exponent.
const PLAIN: std::ops::Range<f64> = 1e-5..1e15;

/// Writes a float of either width. Errors: those of `out`.
pub(crate) fn write_float(out: &mut impl Write, value: impl Display + LowerExp + Into<f64> + Copy) -> Result {
    let wide: f64 = value.into();
    if wide.is_nan() {
        out.write_str("NaN")
    } else if wide.is_infinite() {
        out.write_str(if wide > 0.0 { "Infinity" } else { "-Infinity" })
    } else if wide == 0.0 || PLAIN.contains(&wide.abs()) {
        write!(out, "{value}")
    } else {
        write!(out, "{value:e}")
    }
}
